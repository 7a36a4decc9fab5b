import { ComfyUiCare, ComfyUiHealth, Gpu, HostLoad, NodeReport } from '@comfy-balancer/contract/node'
import { Progress } from '@comfy-balancer/contract/task'
import { TypeCompiler } from '@sinclair/typebox/compiler'
import { readAs } from './read-as.ts'

const check = TypeCompiler.Compile(NodeReport, [ComfyUiCare, ComfyUiHealth, Gpu, HostLoad, Progress])
/** A node with a thousand models in memory says less. */
const maxLength = 262_144

/** What is known of a node that says nothing: its ComfyUI counts as away. */
export const noReport: NodeReport = {
  comfyui: { up: false, version: null, queueRemaining: 0, foreign: 0 },
  gpus: [],
  host: { cpuUtilization: null, memoryTotalBytes: null, memoryUsedBytes: null },
  resident: [],
  catalog: null,
  progress: null
}

/**
 * Reads what a node reported; undefined for what is no report, since one node that reports garbage must not spoil the look at all of them.
 * What a node of another version leaves out counts as not said.
 */
export const readReport = (text: string): NodeReport | undefined => {
  if (text.length > maxLength) return undefined
  const said = readAs(text, isObject)
  if (said === undefined) return undefined
  const report = { ...noReport, ...said }
  return check.Check(report) ? report : undefined
}

const isObject = (value: unknown): value is object =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
