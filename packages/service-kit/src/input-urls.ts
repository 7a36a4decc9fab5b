import { isInputUrl } from '@comfy-balancer/domain/input-url'
import { reachable } from '@comfy-balancer/domain/reachable'
import type { Flaw, GraphNode, Workflow } from '@comfy-balancer/domain/workflow'
import { type EgressRules, urlFault } from './egress-rules.ts'

/** An input of a graph node that names a file by its URL where ComfyUI expects an uploaded one. */
export type InputUrl = { readonly graphNode: string; readonly input: string; readonly url: string }

/** What must be known of a workflow to find its URLs: its output graph nodes, and which inputs take uploaded files. */
export type InputUrlDeps = {
  readonly outputs: readonly string[]
  readonly isUpload: (classType: string, input: string) => boolean
}

/** So many files a workflow may name by URL. */
export const maxInputUrls = 64

/** The URLs to fetch before the workflow can run; a graph node that no output needs does not run and is left out. */
export const inputUrlsOf = (workflow: Workflow, { outputs, isUpload }: InputUrlDeps): InputUrl[] =>
  [...reachable(workflow, outputs)].flatMap(id => {
    const graphNode = workflow.graphNodes.get(id)
    return graphNode ? urlsOf(graphNode, isUpload) : []
  })

const urlsOf = ({ id, classType, inputs }: GraphNode, isUpload: InputUrlDeps['isUpload']): InputUrl[] =>
  Object.entries(inputs).flatMap(([input, literal]) => {
    if (literal.kind !== 'literal' || typeof literal.value !== 'string') return []
    if (!isInputUrl(literal.value) || !isUpload(classType, input)) return []
    return [{ graphNode: id, input, url: literal.value }]
  })

/** What is wrong with the input URLs of a workflow, as far as their text tells (`input-url-blocked`). Empty when they may be tried. */
export const blockedUrlFlaws = (workflow: Workflow, deps: InputUrlDeps, rules: EgressRules): Flaw[] => {
  const found = inputUrlsOf(workflow, deps)
  const distinct = new Set(found.map(({ url }) => url)).size
  if (distinct > maxInputUrls) {
    const detail = `the workflow names ${distinct} files by URL; the limit is ${maxInputUrls}`
    return [{ pointer: '/prompt', code: 'too-many-input-urls', detail }]
  }
  return found.flatMap(({ graphNode, input, url }) => {
    const fault = urlFault(url, rules)
    const pointer = `/prompt/${escapePointer(graphNode)}/inputs/${escapePointer(input)}`
    return fault === undefined ? [] : [{ pointer, code: 'input-url-blocked', detail: `the input URL ${fault}` }]
  })
}

const escapePointer = (part: string): string => part.replaceAll('~', '~0').replaceAll('/', '~1')
