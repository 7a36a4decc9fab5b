import type { FaultName, FaultRequest } from '../faults/fault.ts'
import type { FaultPlan } from '../faults/fault-plan.ts'
import type { JsonObject } from '../json/python-json.ts'
import type { ClassTable } from '../nodes/class-table.ts'
import type { NodeMachine } from '../nodes/node-class.ts'
import type { SocketHub } from '../ws/socket-hub.ts'
import type { ComfyCore } from './comfy-core.ts'
import type { LogBook } from './log-book.ts'

/** What the HTTP routes of one simulator share. */
export interface ServerContext {
  /** The present life of the server; a restart puts a new one here. */
  core(): ComfyCore
  machine(): NodeMachine
  classes: ClassTable
  hub: SocketHub
  log: LogBook
  faults: FaultPlan
  argv(): string[]
  features(): JsonObject
  fault(request: FaultRequest): void
  clearFaults(): void
  state(): SimulatorState
}

/** What `GET /simulator/state` tells. */
export interface SimulatorState {
  name: string
  queue: { running: string[]; pending: string[] }
  models: { name: string; bytes: number }[]
  vram: { totalBytes: number; usedBytes: number }
  faults: { fault: FaultName }[]
  isWorkerAlive: boolean
  sockets: number
  counters: { promptsExecuted: number; models: Record<string, { loads: number; reloads: number }> }
}
