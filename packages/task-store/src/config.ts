import { type Static, type TObject, Type } from '@sinclair/typebox'
import { defaultLimits, type Limits } from './limits.ts'

const milliseconds = (fallback: number, description: string) =>
  Type.Integer({ minimum: 50, maximum: 600_000, default: fallback, description })
const seconds = (fallbackMs: number, description: string) =>
  Type.Integer({ minimum: 1, maximum: 31_536_000, default: fallbackMs / 1_000, description })

/** The variables that bound the ledger; every service on one ledger must be given the same. */
export const ledgerConfig = {
  LEASE_MS: milliseconds(defaultLimits.leaseMs, 'How long a slot lasts without a heartbeat that names its attempt'),
  NODE_ALIVE_MS: milliseconds(defaultLimits.aliveMs, 'A node silent for longer is given nothing: three heartbeats'),
  BLIND_MS: milliseconds(defaultLimits.blindMs, 'Without a sweep for so long, recovery waits one more lease'),
  RETENTION_SECONDS: seconds(defaultLimits.keepMs, 'How long ended tasks are kept'),
  FAILED_RETENTION_SECONDS: seconds(defaultLimits.keepFailedMs, 'How long failed tasks are kept'),
  QUARANTINE_MS: milliseconds(
    defaultLimits.quarantineMs,
    'How long a node that failed three times in a row is left alone'
  ),
  WORKFLOW_QUARANTINE_SECONDS: seconds(
    defaultLimits.poisonMs,
    'How long a workflow is refused that took ComfyUI down on several nodes'
  ),
  MAX_QUEUED: Type.Integer({
    minimum: 1,
    maximum: 10_000_000,
    default: defaultLimits.maxQueued,
    description: 'Tasks that may wait in all'
  }),
  MAX_TEMPLATES: Type.Integer({
    minimum: 0,
    maximum: 100_000,
    default: defaultLimits.maxTemplates,
    description: 'Templates that one tenant may store'
  }),
  INPUT_TENANT_BYTES: Type.Integer({
    minimum: 0,
    maximum: 2 ** 50,
    default: defaultLimits.maxInputBytes,
    description: 'Uploads that one tenant may have at a time, unless its limits say another figure (inputBytes)'
  })
}

/** The limits that a configuration gives. */
export const limitsOf = (config: Static<TObject<typeof ledgerConfig>>): Limits => ({
  ...defaultLimits,
  leaseMs: config.LEASE_MS,
  aliveMs: config.NODE_ALIVE_MS,
  blindMs: config.BLIND_MS,
  keepMs: config.RETENTION_SECONDS * 1_000,
  keepFailedMs: config.FAILED_RETENTION_SECONDS * 1_000,
  quarantineMs: config.QUARANTINE_MS,
  maxQuarantineMs: 10 * config.QUARANTINE_MS,
  poisonMs: config.WORKFLOW_QUARANTINE_SECONDS * 1_000,
  maxQueued: config.MAX_QUEUED,
  maxTemplates: config.MAX_TEMPLATES,
  maxInputBytes: config.INPUT_TENANT_BYTES
})
