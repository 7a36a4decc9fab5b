/** A fault that the simulator is told to have; see its `faults/fault.ts`. */
export type SimulatorFault = {
  readonly fault: string
  readonly ms?: number
  readonly classType?: string
  readonly times?: number
}

/** The graph node class that takes ComfyUI down each time: every simulator crashes when it meets it. */
export const poisonClass = 'ImageInvert'

const withinMs = 2_000

const call = async (url: string, init: RequestInit = {}): Promise<Response | undefined> => {
  try {
    return await fetch(url, { ...init, signal: AbortSignal.timeout(withinMs) })
  } catch {
    return undefined
  }
}

/** Tells a simulator to fail; false when it is away. */
export const addFault = async (comfyUiUrl: string, fault: SimulatorFault): Promise<boolean> => {
  const body = JSON.stringify(fault)
  const headers = { 'content-type': 'application/json' }
  return (await call(`${comfyUiUrl}/simulator/faults`, { method: 'POST', headers, body }))?.ok === true
}

/** Takes all faults back, except that it still dies of poison. */
export const clearFaults = async (comfyUiUrl: string): Promise<void> => {
  await call(`${comfyUiUrl}/simulator/faults`, { method: 'DELETE' })
  await armPoison(comfyUiUrl)
}

/** Makes the poison class take this simulator down, as often as it comes. */
export const armPoison = async (comfyUiUrl: string): Promise<void> => {
  await addFault(comfyUiUrl, { fault: 'crash', classType: poisonClass, times: 1_000_000 })
}

/** The ids of the prompts that a simulator runs or has waiting; undefined when it is away. */
export const promptsIn = async (comfyUiUrl: string): Promise<readonly string[] | undefined> => {
  const response = await call(`${comfyUiUrl}/simulator/state`)
  if (!response?.ok) return undefined
  const { queue } = (await response.json()) as { queue: { running: string[]; pending: string[] } }
  return [...queue.running, ...queue.pending]
}
