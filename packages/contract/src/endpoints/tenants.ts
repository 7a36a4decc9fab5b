import { Type } from '@sinclair/typebox'
import type { Endpoint } from '../endpoint.ts'
import { ref } from '../endpoint.ts'
import { Problem } from '../problem.ts'
import { Tenant, TenantLimits, TenantName } from '../tenant.ts'
import { problems } from './problems.ts'

const TenantParams = Type.Object({ tenant: TenantName })

export const getTenant = {
  method: 'GET',
  url: '/api/v1/tenants/:tenant',
  scope: 'admin',
  schema: {
    operationId: 'getTenant',
    summary: 'What a tenant may use, and what it uses now',
    tags: ['tenants'],
    params: TenantParams,
    response: { 200: ref(Tenant), ...problems }
  }
} as const satisfies Endpoint

export const putTenant = {
  method: 'PUT',
  url: '/api/v1/tenants/:tenant',
  scope: 'admin',
  schema: {
    operationId: 'putTenant',
    summary: 'Set what a tenant may use; a limit that is left out holds no longer',
    tags: ['tenants'],
    params: TenantParams,
    body: ref(TenantLimits),
    response: { 200: ref(Tenant), 413: ref(Problem), 415: ref(Problem), ...problems }
  }
} as const satisfies Endpoint
