import type { Json, JsonObject } from '../json/python-json.ts'
import type { NodeOutcome } from '../nodes/node-class.ts'
import { ExecutionBlocker } from './execution-blocker.ts'

/** The values of a node's inputs: one list per input, as links to list outputs make them. */
export type InputLists = Record<string, unknown[]>

/** One call's inputs out of the lists: the last value of a shorter list is used again. */
export function sliceInputs(lists: InputLists, index: number): Record<string, unknown> {
  return Object.fromEntries(Object.entries(lists).map(([name, list]) => [name, list[Math.min(index, list.length - 1)]]))
}

/** How often a node is called for its lists of inputs. */
export function callCount(lists: InputLists): number {
  return Object.values(lists).reduce(
    (most, list) => Math.max(most, list.length),
    Object.keys(lists).length === 0 ? 1 : 0
  )
}

/** The blocker among a call's inputs, if there is one. */
export function blockerIn(inputs: Record<string, unknown>): ExecutionBlocker | undefined {
  return Object.values(inputs).find(value => value instanceof ExecutionBlocker) as ExecutionBlocker | undefined
}

/** Joins the calls of a node into one list of values per output slot. */
export function joinOutputs(outcomes: NodeOutcome[], isList: boolean[]): unknown[][] {
  return isList.map((flag, slot) =>
    outcomes.flatMap(({ outputs }) => {
      const value = outputs?.[slot]
      return flag && Array.isArray(value) ? value : [value]
    })
  )
}

/** Joins what the calls of a node show: lists under the same key follow each other. */
export function joinUi(outcomes: NodeOutcome[]): JsonObject | undefined {
  const shown = outcomes.flatMap(({ ui }) => (ui ? [ui] : []))
  const first = shown[0]
  if (!first) return undefined
  const joined: JsonObject = {}
  for (const key of Object.keys(first)) joined[key] = shown.flatMap(ui => ui[key] ?? []) as Json[]
  return joined
}
