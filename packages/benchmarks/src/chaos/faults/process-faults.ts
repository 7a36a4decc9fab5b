import { setTimeout as pause } from 'node:timers/promises'
import { holding, type MakeFault, withBalancer, withNode } from './fault.ts'

const graceMs = 8_000

/** kill -9 of a comfy-service. */
export const killService: MakeFault = (scene, { pick, forMs }) =>
  withNode(scene, pick, async ({ service }) => service.kill(forMs))

/** kill -9 of a balancer. */
export const killBalancer: MakeFault = (scene, { pick, forMs }) =>
  withBalancer(scene, pick, async ({ program }) => program.kill(forMs))

/** kill -9 of a ComfyUI under a living comfy-service. */
export const killComfyui: MakeFault = (scene, { pick, forMs }) =>
  withNode(scene, pick, async ({ comfyui }) => comfyui.kill(forMs))

/** SIGSTOP and SIGCONT of a balancer. */
export const freezeBalancer: MakeFault = (scene, { pick, forMs }) =>
  withBalancer(scene, pick, async ({ program }) => {
    if (!program.freeze()) return false
    await pause(forMs)
    program.thaw()
    return true
  })

/** SIGSTOP and SIGCONT of a ComfyUI: its node may hold on to the attempt. */
export const freezeComfyui: MakeFault = (scene, { pick, forMs }) =>
  withNode(scene, pick, async ({ comfyui }) => {
    if (!comfyui.freeze()) return false
    await pause(forMs)
    comfyui.thaw()
    return true
  })

/** A comfy-service comes back with a wall clock that is minutes or hours off. */
export const skewClock: MakeFault = (scene, { pick, forMs }) =>
  withNode(scene, pick, async ({ service, setSkew }) => {
    const minutes = Math.round(((pick * 1_000) % 1) * 300) - 150
    setSkew(minutes * 60_000)
    return service.kill(forMs)
  })

/** Every service and every balancer is asked to end, one after the other, and started again; each counts as a fault of its own. */
export const rollingRestart: MakeFault = async ({ rig, held, signal, note }) => {
  const programs = [...rig.nodes.map(({ id, service }) => ({ id, program: service })), ...rig.balancers]
  for (const { id, program } of programs) {
    if (signal.aborted || held.has(id)) continue
    const fromMs = Date.now()
    const replaced = await holding(held, [id], () => program.replace(graceMs))
    if (replaced) note({ kind: 'rolling-restart', targets: replaced, fromMs, toMs: Date.now() })
  }
  return undefined
}
