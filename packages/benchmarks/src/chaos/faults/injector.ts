import { setTimeout as pause } from 'node:timers/promises'
import * as aimed from './aimed-faults.ts'
import * as comfyui from './comfyui-faults.ts'
import type { FaultKind, MakeFault, PlannedFault, Scene } from './fault.ts'
import * as links from './link-faults.ts'
import * as processes from './process-faults.ts'
import * as traffic from './traffic-faults.ts'

const makers: Readonly<Record<FaultKind, MakeFault>> = {
  'freeze-service-past-lease': aimed.freezeServicePastLease,
  'silence-service-past-lease': aimed.silenceServicePastLease,
  'kill-service': processes.killService,
  'kill-balancer': processes.killBalancer,
  'kill-comfyui': processes.killComfyui,
  'freeze-balancer': processes.freezeBalancer,
  'freeze-comfyui': processes.freezeComfyui,
  'kill-balancer-after-claim': aimed.killBalancerAfterClaim,
  'cancel-after-claim': aimed.cancelAfterClaim,
  'cancel-in-silence': aimed.cancelInSilence,
  'kill-redis': links.killRedis,
  'memory-full': traffic.memoryFull,
  'cut-links': links.cutLinks,
  'lose-reply': aimed.loseReply,
  latency: links.latency,
  'partition-half': links.partitionHalf,
  'comfyui-out-of-memory': comfyui.outOfMemory,
  'comfyui-hang': comfyui.hang,
  'comfyui-silent-websocket': comfyui.silentWebsocket,
  'comfyui-lost-history': comfyui.lostHistory,
  'comfyui-late-answer': comfyui.lateAnswer,
  'comfyui-dead-worker': comfyui.deadWorker,
  'comfyui-done-twice': comfyui.doneTwice,
  'black-hole': comfyui.blackHole,
  poison: traffic.poison,
  'cancel-storm': traffic.cancelStorm,
  'skew-clock': processes.skewClock,
  'drain-node': traffic.drainNode,
  'rolling-restart': processes.rollingRestart
}

/** Makes the planned faults, each at its time, and resolves when the last is taken back. */
export const injectFaults = async (scene: Scene, plan: readonly PlannedFault[]): Promise<void> => {
  const startedMs = performance.now()
  const inject = async (planned: PlannedFault): Promise<void> => {
    const fromMs = Date.now()
    const targets = await makers[planned.kind](scene, planned)
    if (targets) scene.note({ kind: planned.kind, targets, fromMs, toMs: Date.now() })
  }
  const going: Promise<void>[] = []
  for (const planned of plan) {
    await pause(Math.max(0, startedMs + planned.atMs - performance.now()))
    if (scene.signal.aborted) break
    going.push(inject(planned))
  }
  await Promise.all(going)
}
