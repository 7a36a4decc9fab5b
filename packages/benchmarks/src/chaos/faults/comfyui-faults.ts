import { setTimeout as pause } from 'node:timers/promises'
import type { RigNode } from '../rig/rig.ts'
import { addFault, clearFaults, promptsIn, type SimulatorFault } from '../rig/simulator.ts'
import { timers } from '../timers.ts'
import { type MakeFault, withNode } from './fault.ts'

const once =
  (fault: SimulatorFault): MakeFault =>
  (scene, { pick, forMs }) =>
    withNode(scene, pick, async ({ comfyUiUrl }) => {
      if (!(await addFault(comfyUiUrl, fault))) return false
      await pause(forMs)
      await clearFaults(comfyUiUrl)
      return true
    })

/** The GPU has too little memory, once. */
export const outOfMemory = once({ fault: 'out-of-memory' })
/** Nothing more is said on the WebSocket for a while. */
export const silentWebsocket = once({ fault: 'silent-websocket' })
/** A finished prompt is in no history. */
export const lostHistory = once({ fault: 'lost-history' })
/** The prompt is queued at once, and that is said a second later. */
export const lateAnswer = once({ fault: 'late-prompt-answer', ms: 1_200 })
/** The end of a prompt is told twice. */
export const doneTwice = once({ fault: 'done-twice', times: 3 })
/** A node that refuses everything at once, and so looks free all the time. */
export const blackHole = once({ fault: 'wrong-validation', times: 1_000 })

/** It hangs until somebody starts it again, as an operator would. */
const untilRestarted =
  (fault: SimulatorFault): MakeFault =>
  (scene, { pick, forMs }) =>
    withNode(scene, pick, async node => {
      if (!(await addFault(node.comfyUiUrl, fault))) return false
      await pause(forMs + timers.silentMs)
      await revive(node)
      return true
    })

const revive = async ({ comfyUiUrl, comfyui }: RigNode): Promise<void> => {
  await clearFaults(comfyUiUrl)
  if ((await promptsIn(comfyUiUrl))?.length !== 0) await comfyui.kill()
}

/** A prompt that never ends. */
export const hang = untilRestarted({ fault: 'hang' })
/** The worker thread is gone, and everything still answers. */
export const deadWorker = untilRestarted({ fault: 'dead-worker' })
