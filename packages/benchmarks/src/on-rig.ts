import { rmSync } from 'node:fs'
import { makeOwnFolder } from '@comfy-balancer/local/own-folder'
import { watchLag } from './chaos/lag.ts'
import { type Rig, startRig } from './chaos/rig/rig.ts'
import { keep, type Result, say } from './results.ts'

type Judged = Result & { readonly isLoss: boolean }

/** Measures on programs that can be killed, with the times that we ship; the exit code is 1 when something was lost. */
export const onRig = async (nodes: number, measure: (rig: Rig) => Promise<Judged>): Promise<void> => {
  const folder = makeOwnFolder('bench')
  const lag = watchLag()
  const rig = await startRig({ folder, nodes, balancers: 2, timers: {} })
  try {
    const { isLoss, name, text } = await measure(rig)
    const longest = Math.max(0, ...lag.lags.map(({ ms }) => ms))
    keep({ name, text: `${text}\n\nThis machine kept the measurement itself waiting for at most ${longest} ms.` })
    if (isLoss) process.exitCode = 1
  } finally {
    lag.stop()
    await rig.stop()
  }
  if (process.exitCode === 1) say(`the logs are in ${folder}`)
  else rmSync(folder, { recursive: true, force: true })
}
