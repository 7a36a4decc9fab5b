import type { Node, NodeState } from '@comfy-balancer/contract/node'
import type { Capability } from '@comfy-balancer/domain/capability'
import type { Ledger } from '@comfy-balancer/task-store/ledger'
import type { NodeRecord } from '@comfy-balancer/task-store/node-record'

/** A node as operators see it. `capability` is undefined while its catalog is unknown. */
export const viewNode = (
  ledger: Ledger,
  node: NodeRecord,
  capability: Capability | undefined,
  nowMs: number
): Node => ({
  id: node.id,
  state: stateOf(ledger, node, nowMs),
  url: node.url,
  labels: { ...node.labels },
  gpus: node.report.gpus,
  host: node.report.host,
  comfyui: node.report.comfyui,
  models: [...(capability?.models() ?? [])],
  resident: node.report.resident,
  quarantine:
    node.quarantinedUntilMs > nowMs
      ? { until: new Date(node.quarantinedUntilMs).toISOString(), times: node.quarantines }
      : null,
  restarting: node.restart !== undefined,
  attempt: node.slot ? { task: node.slot.task, progress: node.report.progress } : null,
  lastHeartbeatAt: node.lastBeatMs > 0 ? new Date(node.lastBeatMs).toISOString() : null
})

/** `down` covers a silent comfy-service, a ComfyUI that it cannot reach and one that failed its warm-up. */
export const stateOf = (ledger: Ledger, node: NodeRecord, nowMs: number): NodeState => {
  const { up, care } = node.report.comfyui
  if (!ledger.nodes.isAlive(node, nowMs) || !up || care?.state === 'failed') return 'down'
  if (node.quarantinedUntilMs > nowMs) return 'quarantined'
  const isLeaving = node.isDrained || node.restart !== undefined || node.intent === 'draining'
  return isLeaving ? 'draining' : 'ready'
}
