import { Type } from '@sinclair/typebox'
import type { Endpoint } from '../endpoint.ts'
import { ref } from '../endpoint.ts'
import { Session } from '../session.ts'
import { problems } from './problems.ts'

export const openSession = {
  method: 'POST',
  url: '/api/v1/session',
  scope: 'nodes:read',
  schema: {
    operationId: 'openSession',
    summary:
      'Sign a browser in with the API key of this request: sets a cookie that stands for the key for eight hours',
    tags: ['session'],
    response: { 200: ref(Session), ...problems }
  }
} as const satisfies Endpoint

export const getSession = {
  method: 'GET',
  url: '/api/v1/session',
  scope: 'nodes:read',
  schema: {
    operationId: 'getSession',
    summary: 'Who asks, and what they may do',
    tags: ['session'],
    response: { 200: ref(Session), ...problems }
  }
} as const satisfies Endpoint

export const endSession = {
  method: 'DELETE',
  url: '/api/v1/session',
  scope: null,
  schema: {
    operationId: 'endSession',
    summary: 'Sign a browser out',
    tags: ['session'],
    response: { 200: Type.Object({}), ...problems }
  }
} as const satisfies Endpoint
