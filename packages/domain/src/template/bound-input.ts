import type { Scalar, TemplateContent } from '@comfy-balancer/contract/template'
import type { GraphPlace } from '../seeds.ts'

/** One way of a param into the graph: where to, and by which map. `place` is undefined when `target` is no address. */
export type BoundInput = {
  readonly param: string
  readonly target: string
  readonly place: GraphPlace | undefined
  readonly map: ReadonlyMap<string, Scalar> | undefined
}

/** Reads `"6".inputs.text` or `6.inputs.text`. */
export const placeOf = (target: string): GraphPlace | undefined => {
  const [, quoted, bare, input] = /^(?:"(.+?)"|([^"]+?))\.inputs\.(.+)$/s.exec(target) ?? []
  const graphNode = quoted ?? bare
  return graphNode === undefined || input === undefined ? undefined : { graphNode, input }
}

/** Every way of every param, in the order of the bindings. */
export const boundInputsOf = ({ bindings, loras = {} }: Pick<TemplateContent, 'bindings' | 'loras'>): BoundInput[] =>
  Object.entries(bindings).flatMap(([param, binding]) =>
    [binding].flat().flatMap(one => {
      const { to, map } = typeof one === 'string' ? { to: one } : one
      const entries = map === 'loras' ? files(loras) : map
      const known = entries && new Map(Object.entries(entries))
      return [to].flat().map(target => ({ param, target, place: placeOf(target), map: known }))
    })
  )

const files = (loras: NonNullable<TemplateContent['loras']>): Record<string, string> =>
  Object.fromEntries(Object.entries(loras).map(([id, { name }]) => [id, name]))

/** The names inside `{{ }}` in a text. */
export const placeholdersIn = (text: string): string[] => [...text.matchAll(placeholder)].map(match => match[1]!)

/** Puts values where their names stand inside `{{ }}`; what has no value stays as it is. */
export const filled = (text: string, textFor: (name: string) => string | undefined): string =>
  text.replace(placeholder, (whole, name: string) => textFor(name) ?? whole)

const placeholder = /\{\{\s*([A-Za-z_][A-Za-z0-9_]*)\s*\}\}/g
