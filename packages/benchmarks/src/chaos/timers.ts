/** The product's times as the rig scales them, in ms; the checks judge by the same figures. */
export const timers = {
  leaseMs: 1_500,
  heartbeatMs: 300,
  aliveMs: 900,
  blindMs: 1_500,
  /** Ended tasks are kept so long, and known as gone for as long again. */
  keepMs: 5_000,
  keepFailedMs: 6_000,
  /** Nodes that failed three times in a row, and workflows that took ComfyUI down, are left alone for so long. */
  quarantineMs: 1_500,
  poisonMs: 5_000,
  /** A ComfyUI silent for so long hangs, and is given so long to let go of a prompt. */
  silentMs: 3_000,
  cancelMs: 2_000
} as const

/** The same as the services' environment. */
export const timerEnvironment: Readonly<Record<string, string>> = {
  LEASE_MS: String(timers.leaseMs),
  HEARTBEAT_MS: String(timers.heartbeatMs),
  NODE_ALIVE_MS: String(timers.aliveMs),
  BLIND_MS: String(timers.blindMs),
  RETENTION_SECONDS: String(timers.keepMs / 1_000),
  FAILED_RETENTION_SECONDS: String(timers.keepFailedMs / 1_000),
  QUARANTINE_MS: String(timers.quarantineMs),
  WORKFLOW_QUARANTINE_SECONDS: String(timers.poisonMs / 1_000),
  COMFYUI_SILENT_SECONDS: String(timers.silentMs / 1_000),
  COMFYUI_CANCEL_SECONDS: String(timers.cancelMs / 1_000),
  SHUTDOWN_SECONDS: '6'
}
