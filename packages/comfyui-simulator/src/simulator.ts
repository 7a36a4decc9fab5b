import type { FaultRequest } from './faults/fault.ts'
import { ComfyServer } from './server/comfy-server.ts'
import type { SimulatorState } from './server/server-context.ts'
import type { SimulatorOptions } from './simulator-options.ts'

export type { SimulatorOptions } from './simulator-options.ts'

/** A ComfyUI without a GPU. */
export interface Simulator {
  readonly url: string
  readonly port: number
  /** Starts to listen and returns the URL. Rejects when the port is taken. */
  listen(): Promise<string>
  /** Cuts every connection, stops the worker and removes temporary files. */
  close(): Promise<void>
  fault(request: FaultRequest): void
  clearFaults(): void
  state(): SimulatorState
}

/** Creates a simulated ComfyUI 0.3.64; nothing listens until `listen`. */
export function createSimulator(options: SimulatorOptions = {}): Simulator {
  const server = new ComfyServer(options)
  return {
    get url() {
      return server.url
    },
    get port() {
      return server.port
    },
    listen: () => server.listen(),
    close: () => server.close(),
    fault: request => server.fault(request),
    clearFaults: () => server.clearFaults(),
    state: () => server.state()
  }
}
