import { isLosslessNumber, parse, stringify } from 'lossless-json'
import { recordOf } from './record.ts'

/** A literal of a graph and the JSON text to put in its place. */
export type LiteralEdit = { readonly graphNode: string; readonly input: string; readonly json: string }

const textOf = (value: unknown): string => stringify(value) ?? 'null'

/** The members of a JSON object, or of a list by their index, each as a JSON text of its own with every digit. Throws for a text that is neither. */
export const membersOf = (text: string): Map<string, string> => {
  const value = parse(text)
  if (typeof value !== 'object' || value === null || isLosslessNumber(value))
    throw new TypeError('neither an object nor a list')
  return new Map(Object.entries(value).map(([name, member]) => [name, textOf(member)]))
}

/** The request with other literals in its graph. Throws for a place that the graph does not have. */
export const withLiterals = (bodyText: string, edits: readonly LiteralEdit[]): string => {
  const body = parse(bodyText)
  const prompt = recordOf(recordOf(body).prompt)
  for (const { graphNode, input, json } of edits) {
    const { inputs } = recordOf(prompt[graphNode])
    if (!Object.hasOwn(recordOf(inputs), input)) throw new Error(`the graph has no input ${graphNode}.${input}`)
    recordOf(inputs)[input] = parse(json)
  }
  return textOf(body)
}

/** The JSON text of one input in a request's graph, with every digit. */
export const literalAt = (bodyText: string, graphNode: string, input: string): string =>
  textOf(recordOf(recordOf(recordOf(recordOf(parse(bodyText)).prompt)[graphNode]).inputs)[input])
