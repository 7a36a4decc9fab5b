import type { Need } from '@comfy-balancer/contract/need'
import type { KnownNode } from '@comfy-balancer/domain/admission'
import { type Capability, createCapability, withInputFiles } from '@comfy-balancer/domain/capability'
import type { NodeView } from '@comfy-balancer/domain/policy'
import { isCapable } from '@comfy-balancer/domain/suitability'
import type { Ledger } from '@comfy-balancer/task-store/ledger'
import type { NodeRecord } from '@comfy-balancer/task-store/node-record'

export type NodeRegistry = ReturnType<typeof createNodeRegistry>

/** A GPU this busy although its node's slot is empty is used by somebody else (dispatch.md). */
const strainUtilization = 0.9
const strainBeats = 3
/** Admission may be so far behind the ledger. */
const knownMs = 1_000

/** The nodes of the ledger as the policy and admission see them. Catalogs are kept by digest, strain is counted by heartbeat. */
export const createNodeRegistry = ({ ledger }: { ledger: Ledger }) => {
  const catalogs = new Map<string, Capability>()
  const capabilities = new Map<string, Capability>()
  let cached: { atMs: number; nodes: readonly KnownNode[] } = { atMs: 0, nodes: [] }
  const strain = new Map<string, { beatMs: number; beats: number }>()

  const catalogOf = async (digest: string): Promise<Capability | undefined> => {
    const known = catalogs.get(digest)
    if (known) return known
    const catalog = await ledger.nodes.catalog(digest)
    if (!catalog) return undefined
    const capability = createCapability(catalog)
    catalogs.set(digest, capability)
    return capability
  }

  const capabilityOf = async (node: NodeRecord): Promise<Capability | undefined> => {
    const digest = `${node.catalog} ${node.files}`
    const known = capabilities.get(digest)
    if (known) return known
    const [catalog, files] = await Promise.all([catalogOf(node.catalog), ledger.nodes.inputFiles(node.files)])
    if (!catalog) return undefined
    const capability = withInputFiles(catalog, new Set(files))
    capabilities.set(digest, capability)
    return capability
  }

  const forgetUnused = (nodes: readonly NodeRecord[]): void => {
    keepOnly(catalogs, new Set(nodes.map(node => node.catalog)))
    keepOnly(capabilities, new Set(nodes.map(node => `${node.catalog} ${node.files}`)))
    keepOnly(strain, new Set(nodes.map(node => node.id)))
  }

  const isStrained = (node: NodeRecord): boolean => {
    const busy = node.report.gpus.some(gpu => (gpu.utilization ?? 0) >= strainUtilization)
    const before = strain.get(node.id)
    if (before?.beatMs === node.lastBeatMs) return before.beats >= strainBeats
    const beats = busy && !node.slot ? (before?.beats ?? 0) + 1 : 0
    strain.set(node.id, { beatMs: node.lastBeatMs, beats })
    return beats >= strainBeats
  }

  const viewOf = async (node: NodeRecord, nowMs: number): Promise<NodeView[]> => {
    const capability = await capabilityOf(node)
    if (!capability) return []
    const { slot } = node
    const need = slot?.needId === undefined ? undefined : await ledger.waiting.need(slot.needId)
    const gpu = node.report.gpus[0]
    return [
      {
        id: node.id,
        labels: labelsOf(node),
        capability,
        resident: new Set(node.report.resident),
        pace: node.pace,
        gpuUuid: gpu?.uuid ?? undefined,
        vramTotalBytes: gpu?.vramTotalBytes ?? undefined,
        vramUsedBytes: gpu?.vramUsedBytes ?? undefined,
        utilization: gpu?.utilization ?? undefined,
        strained: isStrained(node),
        available: ledger.nodes.isAlive(node, nowMs) && isWilling(node, nowMs),
        attempt: slot && {
          need: need ?? emptyNeed,
          elapsedSeconds: need ? (nowMs - slot.claimedMs) / 1000 : 0,
          predictedSeconds: need ? slot.predictedSeconds : 0
        }
      }
    ]
  }

  return {
    /** All nodes of the ledger as the policy sees them. */
    async views(nodes: readonly NodeRecord[], nowMs: number): Promise<NodeView[]> {
      forgetUnused(nodes)
      return (await Promise.all(nodes.map(node => viewOf(node, nowMs)))).flat()
    },

    /** The VRAM of every known node that has what a need asks for. */
    async vramOfCapable(need: Need): Promise<(number | undefined)[]> {
      const { nodes, nowMs } = await ledger.nodes.list()
      const views = (await Promise.all(nodes.map(node => viewOf(node, nowMs)))).flat()
      return views.filter(node => isCapable(node, need)).map(node => node.vramTotalBytes)
    },

    /** Every node seen in the last day with what it can run, healthy or not: what admission asks. */
    async known(): Promise<readonly KnownNode[]> {
      if (cached.nodes.length > 0 && performance.now() - cached.atMs < knownMs) return cached.nodes
      const { nodes } = await ledger.nodes.list()
      const found = await Promise.all(
        nodes.map(async node => ({ id: node.id, labels: labelsOf(node), capability: await capabilityOf(node) }))
      )
      const known = found.flatMap(({ id, labels, capability }) => (capability ? [{ id, labels, capability }] : []))
      cached = { atMs: performance.now(), nodes: known }
      return known
    },

    capabilityOf
  }
}

const keepOnly = (map: Map<string, unknown>, used: ReadonlySet<string>): void => {
  for (const key of map.keys()) if (!used.has(key)) map.delete(key)
}

const emptyNeed = { classes: [], models: [], files: [], labels: {} }

/** A node's labels: those it was given, its id as `node` and its GPU's name as `gpu`. */
const labelsOf = (node: NodeRecord): Record<string, string> => {
  const gpu = node.report.gpus[0]?.name
  return { ...(gpu ? { gpu } : {}), ...node.labels, node: node.id }
}

const isWilling = (node: NodeRecord, nowMs: number): boolean =>
  node.intent === 'ready' &&
  !node.isDrained &&
  node.restart === undefined &&
  node.quarantinedUntilMs <= nowMs &&
  node.report.comfyui.up &&
  node.report.comfyui.foreign === 0
