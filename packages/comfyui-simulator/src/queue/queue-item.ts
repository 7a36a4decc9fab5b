import { isDeepStrictEqual } from 'node:util'
import type { PythonFloat } from '../json/python-float.ts'
import type { Json, JsonObject } from '../json/python-json.ts'
import { PythonError } from '../json/python-numbers.ts'

/** One prompt in the queue: number, id, graph, extra data and the output nodes to execute. */
export interface QueueItem {
  number: number | PythonFloat
  promptId: string
  prompt: JsonObject
  extraData: Json
  outputs: string[]
}

/** The five-element list that `/queue` and `/history` show for an item. */
export function queueTuple(item: QueueItem): Json[] {
  return [item.number, item.promptId, item.prompt, item.extraData, item.outputs]
}

/** Python's `left < right` of two queue tuples: throws a TypeError when number and id are equal and the graphs differ. */
export function isBefore(left: QueueItem, right: QueueItem): boolean {
  const a = Number(left.number)
  const b = Number(right.number)
  if (a !== b) return a < b
  if (left.promptId !== right.promptId) return left.promptId < right.promptId
  if (!isDeepStrictEqual(left.prompt, right.prompt) || !isDeepStrictEqual(left.extraData, right.extraData)) {
    throw new PythonError('TypeError', "'<' not supported between instances of 'dict' and 'dict'")
  }
  return left.outputs.join('\n') < right.outputs.join('\n')
}
