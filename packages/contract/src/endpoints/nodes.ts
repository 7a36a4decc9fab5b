import { Type } from '@sinclair/typebox'
import type { Endpoint } from '../endpoint.ts'
import { ref } from '../endpoint.ts'
import { Node, NodeId, NodeList } from '../node.ts'
import { Problem } from '../problem.ts'
import { problems } from './problems.ts'

export const listNodes = {
  method: 'GET',
  url: '/api/v1/nodes',
  scope: 'nodes:read',
  schema: {
    operationId: 'listNodes',
    summary: 'Every node of the fleet',
    tags: ['nodes'],
    response: { 200: ref(NodeList), ...problems }
  }
} as const satisfies Endpoint

export const getNode = {
  method: 'GET',
  url: '/api/v1/nodes/:id',
  scope: 'nodes:read',
  schema: {
    operationId: 'getNode',
    summary: 'One node; a comfy-service answers for itself under the id self',
    tags: ['nodes'],
    params: Type.Object({ id: NodeId }),
    response: { 200: ref(Node), ...problems }
  }
} as const satisfies Endpoint

export const drainNode = {
  method: 'POST',
  url: '/api/v1/nodes/:id/drain',
  scope: 'nodes:write',
  schema: {
    operationId: 'drainNode',
    summary: 'Give the node nothing new; what it runs goes on. Holds until it is resumed, also over restarts',
    tags: ['nodes'],
    params: Type.Object({ id: NodeId }),
    response: { 200: ref(Node), ...problems }
  }
} as const satisfies Endpoint

export const resumeNode = {
  method: 'POST',
  url: '/api/v1/nodes/:id/resume',
  scope: 'nodes:write',
  schema: {
    operationId: 'resumeNode',
    summary: 'Give a drained node tasks again',
    tags: ['nodes'],
    params: Type.Object({ id: NodeId }),
    response: { 200: ref(Node), ...problems }
  }
} as const satisfies Endpoint

export const restartNode = {
  method: 'POST',
  url: '/api/v1/nodes/:id/restart',
  scope: 'nodes:write',
  schema: {
    operationId: 'restartNode',
    summary:
      'Restart the ComfyUI of a node when it has finished what it runs; it comes back by itself. Needs COMFYUI_COMMAND there',
    tags: ['nodes'],
    params: Type.Object({ id: NodeId }),
    response: { 202: ref(Node), 409: ref(Problem), ...problems }
  }
} as const satisfies Endpoint
