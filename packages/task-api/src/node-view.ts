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
  attempt: node.slot ? { task: node.slot.task, progress: node.report.progress } : null,
  lastHeartbeatAt: node.lastBeatMs > 0 ? new Date(node.lastBeatMs).toISOString() : null
})

/** `down` covers both a silent comfy-service and a ComfyUI that it cannot reach. */
export const stateOf = (ledger: Ledger, node: NodeRecord, nowMs: number): NodeState => {
  if (!ledger.nodes.isAlive(node, nowMs) || !node.report.comfyui.up) return 'down'
  if (node.quarantinedUntilMs > nowMs) return 'quarantined'
  return node.isDrained || node.intent === 'draining' ? 'draining' : 'ready'
}
