import type { Endpoint } from '../endpoint.ts'
import { ref } from '../endpoint.ts'
import { Health } from '../probe.ts'

export const livez = {
  method: 'GET',
  url: '/livez',
  scope: null,
  schema: {
    operationId: 'livez',
    summary: 'The process is alive',
    tags: ['probes'],
    response: { 200: ref(Health) }
  }
} as const satisfies Endpoint

export const readyz = {
  method: 'GET',
  url: '/readyz',
  scope: null,
  schema: {
    operationId: 'readyz',
    summary: 'The process can do its work',
    tags: ['probes'],
    response: { 200: ref(Health), 503: ref(Health) }
  }
} as const satisfies Endpoint
