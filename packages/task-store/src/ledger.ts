import type { Redis } from 'ioredis'
import { type ApiKeys, createApiKeys } from './api-keys.ts'
import { type Attempts, createAttempts } from './attempts.ts'
import { createDeliveries, type Deliveries } from './deliveries.ts'
import { createInputs, type Inputs } from './inputs.ts'
import { createKeys } from './keys.ts'
import { defaultLimits, type Limits } from './limits.ts'
import { createNodes, type Nodes } from './nodes.ts'
import { createQuarantine, type Quarantine } from './quarantine.ts'
import { createRecovery, type Recovery } from './recovery.ts'
import { loadScripts } from './scripts.ts'
import { createSessions, type Sessions } from './sessions.ts'
import { createTasks, type Tasks } from './tasks.ts'
import { createTemplates, type Templates } from './templates.ts'
import { createTenants, type Tenants } from './tenants.ts'
import { createTurns, type Turns } from './turns.ts'
import { createWaiting, type Waiting } from './waiting.ts'
import { createWebhookSecrets, type WebhookSecrets } from './webhook-secrets.ts'

/** Tasks, queues, slots and nodes in Redis. Everything that changes goes through one script per transition. */
export type Ledger = {
  readonly tasks: Tasks
  readonly attempts: Attempts
  readonly nodes: Nodes
  readonly waiting: Waiting
  readonly inputs: Inputs
  readonly recovery: Recovery
  readonly quarantine: Quarantine
  readonly tenants: Tenants
  readonly apiKeys: ApiKeys
  readonly sessions: Sessions
  readonly turns: Turns
  readonly templates: Templates
  readonly deliveries: Deliveries
  readonly webhookSecrets: WebhookSecrets
  readonly limits: Limits
  readonly prefix: string
}

/** Builds the ledger on one connection. `prefix` is a hash tag that ends in a colon. */
export const createLedger = (redis: Redis, prefix = '{cb}:', limits: Limits = defaultLimits): Ledger => {
  const keys = createKeys(prefix)
  const run = loadScripts(redis, prefix, limits)
  const deps = { redis, keys, run, limits }
  const tenants = createTenants(deps)
  const apiKeys = createApiKeys(deps, tenants)
  return {
    tasks: createTasks(deps),
    attempts: createAttempts(deps),
    nodes: createNodes(deps),
    waiting: createWaiting(deps),
    inputs: createInputs(deps),
    recovery: createRecovery(deps),
    quarantine: createQuarantine(deps),
    tenants,
    apiKeys,
    sessions: createSessions(deps, apiKeys),
    turns: createTurns(deps),
    templates: createTemplates(deps),
    deliveries: createDeliveries(deps),
    webhookSecrets: createWebhookSecrets(deps),
    limits,
    prefix
  }
}
