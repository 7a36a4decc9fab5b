import type { Catalog } from '@comfy-balancer/contract/catalog'
import type { Choice, Need } from '@comfy-balancer/contract/need'
import type { KnownNode } from '../src/admission.ts'
import { createCapability, withInputFiles } from '../src/capability.ts'
import type { Candidate, NodeView, Situation } from '../src/policy.ts'
import { type Learned, noPace } from '../src/prediction.ts'
import type { GraphInput, Workflow } from '../src/workflow.ts'

type ClassDraft = { output?: true; required?: string[]; options?: Record<string, string[]>; uploads?: string[] }

/** A catalog from class drafts: option lists are written where they are used. */
export const aCatalog = (
  drafts: Readonly<Record<string, ClassDraft>>,
  modelBytes: Readonly<Record<string, number>> = {}
): Catalog => {
  const lists: string[][] = []
  const classes = Object.entries(drafts).map(
    ([name, { output = false, required = [], options = {}, uploads = [] }]) => {
      const listed = Object.entries(options).filter(([input]) => !uploads.includes(input))
      const choices = listed.map(([input, list]) => [input, lists.push(list) - 1] as const)
      return [name, { output, required, choices: Object.fromEntries(choices), uploads }] as const
    }
  )
  return { classes: Object.fromEntries(classes), lists, modelBytes: { ...modelBytes } }
}

/** The files that a draft's upload inputs list: they belong to the node, not to its catalog. */
const filesOf = (drafts: Readonly<Record<string, ClassDraft>>): Set<string> =>
  new Set(
    Object.values(drafts).flatMap(({ options = {}, uploads = [] }) => uploads.flatMap(name => options[name] ?? []))
  )

/** A node as admission knows it; upload inputs without a list take any file. */
export const aKnownNode = (
  id: string,
  drafts: Readonly<Record<string, ClassDraft>>,
  labels: Readonly<Record<string, string>> = {}
): KnownNode => {
  const files = filesOf(drafts)
  const capability = createCapability(aCatalog(drafts))
  return { id, labels, capability: files.size > 0 ? withInputFiles(capability, files) : capability }
}

/** Graph nodes in ComfyUI's API format, as a caller posts them. */
export type Prompt = Readonly<Record<string, { class_type: string; inputs?: Record<string, unknown> }>>

/** A workflow from ComfyUI's API format; `[id, slot]` is a link. */
export const aWorkflow = (prompt: Prompt): Workflow => ({
  graphNodes: new Map(
    Object.entries(prompt).map(([id, { class_type, inputs = {} }]) => [
      id,
      {
        id,
        classType: class_type,
        title: undefined,
        inputs: Object.fromEntries(Object.entries(inputs).map(([name, value]) => [name, aGraphInput(value)]))
      }
    ])
  )
})

const aGraphInput = (value: unknown): GraphInput => {
  if (!Array.isArray(value) || value.length !== 2 || typeof value[1] !== 'number') return { kind: 'literal', value }
  return { kind: 'link', graphNode: String(value[0]), slot: value[1] }
}

const loader = (model: string): Choice => ({ classType: 'Loader', input: 'name', value: `${model}.safetensors` })

/** The need for one model, or none; models are named by one letter here. */
export const aNeed = (model?: string, labels: Readonly<Record<string, string>> = {}): Need => ({
  classes: ['Loader', 'SaveImage'],
  models: model === undefined ? [] : [loader(model)],
  files: [],
  labels: { ...labels }
})

/** A capability with these models of 10 GB each: ten seconds to load before anything was learned. */
export const aCapability = (models: readonly string[] = ['A', 'B', 'C', 'D']) =>
  createCapability(
    aCatalog(
      { Loader: { options: { name: models.map(model => `${model}.safetensors`) } }, SaveImage: { output: true } },
      Object.fromEntries(models.map(model => [`${model}.safetensors`, 10e9]))
    )
  )

const everyModel = aCapability()

/** The resident set of a node that holds these models. */
export const holding = (...models: readonly string[]): ReadonlySet<string> =>
  new Set(models.map(model => `${model}.safetensors`))

/** A free, healthy, cold node. */
export const aNode = (id: string, more: Partial<NodeView> = {}): NodeView => ({
  id,
  labels: {},
  capability: everyModel,
  resident: new Set(),
  pace: noPace,
  gpuUuid: undefined,
  vramTotalBytes: undefined,
  vramUsedBytes: undefined,
  utilization: undefined,
  strained: false,
  available: true,
  attempt: undefined,
  ...more
})

/** A warm node that runs a task of a model, so many seconds from its end. */
export const aBusyNode = (
  id: string,
  model: string,
  remainingSeconds: number,
  more: Partial<NodeView> = {}
): NodeView =>
  aNode(id, {
    resident: holding(model),
    attempt: { need: aNeed(model), elapsedSeconds: 5, predictedSeconds: 5 + remainingSeconds },
    ...more
  })

/** The ledger's time in situations that name no other. */
export const nowMs = 10_000_000

/** A task for one model, accepted just now, that executes in ten seconds before anything was learned. */
export const aTask = (
  id: string,
  model: string,
  more: Partial<Candidate> & { ageSeconds?: number } = {}
): Candidate => {
  const { ageSeconds = 0, ...rest } = more
  const orderMs = rest.orderMs ?? nowMs - ageSeconds * 1000
  return {
    id,
    tenant: 'default',
    needId: model,
    need: aNeed(model),
    orderMs,
    acceptedMs: orderMs,
    work: 100 / 3,
    knownSeconds: undefined,
    avoid: [],
    stay: undefined,
    vramAboveBytes: undefined,
    ...rest
  }
}

/** What the policy looks at: everything that waits is a candidate, and nobody was served yet. */
export const aSituation = (
  nodes: readonly NodeView[],
  candidates: readonly Candidate[],
  more: Partial<Situation> = {}
): Situation => ({
  nodes,
  candidates,
  flows: new Map(),
  learned: new Map(),
  waiting: candidates.length,
  nowMs,
  random: seeded(1),
  ...more
})

/** What was learned about a need: seconds to load, and seconds of execution per unit of work by node. */
export const aLearned = (
  loadSeconds: number,
  secondsPerWork: Readonly<Record<string, number>>,
  fleet?: number
): Learned => ({
  load: { fleet: loadSeconds, byNode: new Map() },
  execution: { fleet, byNode: new Map(Object.entries(secondsPerWork)) }
})

/** A repeatable stream of draws from [0, 1): a 32-bit counter through an integer hash (xor, shift, multiply). */
export const seeded = (seed: number): (() => number) => {
  let counter = seed >>> 0
  return () => {
    counter = (counter + 0x9e3779b9) >>> 0
    let mixed = counter
    for (const factor of [0x85ebca6b, 0xc2b2ae35]) mixed = Math.imul(mixed ^ (mixed >>> 15), factor)
    return ((mixed ^ (mixed >>> 16)) >>> 0) / 2 ** 32
  }
}
