import { Type } from '@sinclair/typebox'
import type { Endpoint } from '../endpoint.ts'
import { media, ref } from '../endpoint.ts'
import { Fleet } from '../node.ts'
import { Fingerprint, QuarantineList } from '../quarantine.ts'
import { problems } from './problems.ts'

export const getFleet = {
  method: 'GET',
  url: '/api/v1/fleet',
  scope: 'nodes:read',
  schema: {
    operationId: 'getFleet',
    summary: 'The fleet in numbers',
    tags: ['nodes'],
    response: { 200: ref(Fleet), ...problems }
  }
} as const satisfies Endpoint

export const watchFleet = {
  method: 'GET',
  url: '/api/v1/fleet/events',
  scope: 'nodes:read',
  schema: {
    operationId: 'watchFleet',
    summary: 'Server-Sent Events of the whole fleet, at most one a second: first everything, then what changed',
    tags: ['nodes'],
    response: {
      200: media('text/event-stream', 'Each `data:` is a FleetUpdate'),
      ...problems
    }
  }
} as const satisfies Endpoint

export const listQuarantine = {
  method: 'GET',
  url: '/api/v1/quarantine',
  scope: 'nodes:read',
  schema: {
    operationId: 'listQuarantine',
    summary: 'Workflows that are refused for a while, because they took ComfyUI down on several nodes',
    tags: ['nodes'],
    response: { 200: ref(QuarantineList), ...problems }
  }
} as const satisfies Endpoint

export const liftQuarantine = {
  method: 'DELETE',
  url: '/api/v1/quarantine/:fingerprint',
  scope: 'nodes:write',
  schema: {
    operationId: 'liftQuarantine',
    summary: 'Accept a refused workflow again, for every tenant it is refused to',
    tags: ['nodes'],
    params: Type.Object({ fingerprint: Fingerprint }),
    response: { 200: ref(QuarantineList), ...problems }
  }
} as const satisfies Endpoint
