import { Type } from '@sinclair/typebox'
import type { Endpoint } from '../endpoint.ts'
import { ref } from '../endpoint.ts'
import { Group, GroupId } from '../group.ts'
import { Problem } from '../problem.ts'
import { problems } from './problems.ts'

const GroupParams = Type.Object({ id: GroupId })

export const getGroup = {
  scope: 'tasks:read',
  method: 'GET',
  url: '/api/v1/groups/:id',
  schema: {
    operationId: 'getGroup',
    summary: 'The group as it is now: counts by state, percent, the tasks',
    tags: ['tasks'],
    params: GroupParams,
    response: { 200: ref(Group), 410: ref(Problem), ...problems }
  }
} as const satisfies Endpoint

export const cancelGroup = {
  scope: 'tasks:write',
  method: 'DELETE',
  url: '/api/v1/groups/:id',
  schema: {
    operationId: 'cancelGroup',
    summary: 'Cancel every task of the group that has not ended',
    tags: ['tasks'],
    params: GroupParams,
    response: { 200: ref(Group), 410: ref(Problem), ...problems }
  }
} as const satisfies Endpoint
