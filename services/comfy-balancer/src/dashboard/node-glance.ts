import type { NodeGlance } from '@comfy-balancer/contract/fleet-update'
import type { ComfyUiCare } from '@comfy-balancer/contract/node'
import { modelsOf } from '@comfy-balancer/domain/capability'
import { stateOf } from '@comfy-balancer/task-api/node-view'
import type { Ledger } from '@comfy-balancer/task-store/ledger'
import type { NodeRecord, Slot } from '@comfy-balancer/task-store/node-record'

const maxResident = 12

/** A node as the dashboard draws it. */
export const glanceAtNode = async (ledger: Ledger, node: NodeRecord, nowMs: number): Promise<NodeGlance> => {
  const isAlive = ledger.nodes.isAlive(node, nowMs)
  const [gpu] = node.report.gpus
  return {
    id: node.id,
    state: stateOf(ledger, node, nowMs),
    trouble: troubleOf(node, isAlive, nowMs),
    silentSince: isAlive || node.lastBeatMs <= 0 ? null : instant(node.lastBeatMs),
    gpu: gpu ? { ...gpu, powerWatts: gpu.powerWatts === null ? null : Math.round(gpu.powerWatts) } : null,
    gpus: node.report.gpus.length,
    resident: node.report.resident.slice(0, maxResident),
    restartable: isAlive && node.restart === undefined && node.report.comfyui.care?.owned === true,
    attempt: node.slot ? await attemptOf(ledger, node, node.slot) : null
  }
}

const instant = (ms: number): string => new Date(ms).toISOString()

const troubleOf = (node: NodeRecord, isAlive: boolean, nowMs: number): string | null => {
  const { comfyui } = node.report
  if (!isAlive) return 'Its comfy-service is silent. Is the machine up and can it reach Redis?'
  if (!node.isReadable)
    return 'What it reports cannot be read. Is its comfy-service of the same version as the balancer?'
  if (comfyui.care && comfyui.care.state !== 'well') return careWords(comfyui.care)
  if (node.restart !== undefined) return 'Its ComfyUI is restarted as soon as what runs is finished.'
  if (!comfyui.up) return 'Its comfy-service works, but its ComfyUI does not answer. Look at the ComfyUI process there.'
  if (node.quarantinedUntilMs > nowMs) return 'It failed several tasks in a row and is left alone for a while.'
  if (node.isDrained) return 'It was drained: it finishes what runs and takes nothing new until it is resumed.'
  if (node.intent === 'draining') return 'It is shutting down and finishes what runs.'
  if (comfyui.foreign > 0) return 'Somebody else uses its ComfyUI; it takes tasks again when that is done.'
  return node.intent === 'occupied' ? 'Its ComfyUI is not ready yet.' : null
}

const careWords = ({ state, reason }: ComfyUiCare): string => {
  const why = reason === null ? '.' : `: ${reason}.`
  if (state === 'failed') return `Its ComfyUI is kept out${why} Put that right and restart it.`
  if (state === 'warming-up') return 'Its ComfyUI was started and is being warmed up.'
  return state === 'stopping' ? `Its ComfyUI is about to be restarted${why}` : `Its ComfyUI is being started${why}`
}

const attemptOf = async (ledger: Ledger, node: NodeRecord, slot: Slot): Promise<NodeGlance['attempt']> => {
  const need = slot.needId === undefined ? undefined : await ledger.waiting.need(slot.needId)
  return {
    task: slot.task,
    tenant: slot.tenant ?? null,
    claimedAt: instant(slot.claimedMs),
    expectedAt: slot.predictedSeconds > 0 ? instant(slot.claimedMs + slot.predictedSeconds * 1000) : null,
    models: need ? modelsOf(need) : [],
    progress: node.report.progress
  }
}
