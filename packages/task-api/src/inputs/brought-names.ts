import type { ShotRequest } from '@comfy-balancer/contract/generate'
import { broughtNameFault, broughtUsesOf, foldName } from '@comfy-balancer/domain/brought-names'
import { loraNameFault } from '@comfy-balancer/domain/lora-source'
import type { Workflow } from '@comfy-balancer/domain/workflow'
import { Refusal } from '@comfy-balancer/service-kit/problems'
import { invalidWorkflow, summaryOf } from '../runnable.ts'

/** What of a request brings files along. */
export type Bringing = Pick<ShotRequest, 'inputs' | 'loras'>

type Named = { readonly name: string; readonly pointer: string; readonly fault: string | undefined }

const escapePointer = (part: string): string => part.replaceAll('~', '~0').replaceAll('/', '~1')

/** Where an input that comes along stands in its request. */
export const inputPointer = (name: string): string => `/inputs/${escapePointer(name.slice(0, 128))}`

const namedIn = ({ inputs = {}, loras = [] }: Bringing): Named[] => [
  ...Object.keys(inputs).map(name => ({ name, pointer: inputPointer(name), fault: broughtNameFault(name) })),
  ...loras.map(({ name }, at) => ({ name, pointer: `/loras/${at}/name`, fault: loraNameFault(name) }))
]

/** The names of the files that come along with a request. Throws a Refusal for names that cannot be, or that people would take for one. */
export const readBroughtNames = (body: Bringing): ReadonlySet<string> => {
  const named = namedIn(body)
  const folded = named.map(({ name }) => foldName(name))
  const flaws = named.flatMap(({ pointer, fault }, at) => {
    if (fault !== undefined) return [{ pointer, code: 'name', detail: `the name ${fault}` }]
    if (folded.indexOf(folded[at]!) === at) return []
    return [{ pointer, code: 'name-taken', detail: 'another name is the same, or differs in nothing but its case' }]
  })
  if (flaws.length > 0) throw new Refusal('validation-failed', summaryOf(flaws), { errors: flaws })
  return new Set(named.map(({ name }) => name))
}

/** The names that a workflow uses of those that come along. */
export const usedNames = (workflow: Workflow, names: ReadonlySet<string>): ReadonlySet<string> =>
  new Set(broughtUsesOf(workflow, names).map(({ name }) => name))

/** Refuses names that nothing uses: they are typing errors more often than not. */
export const refuseUnused = (body: Bringing, used: ReadonlySet<string>): void => {
  const flaws = namedIn(body)
    .filter(({ name }) => !used.has(name))
    .map(({ pointer }) => ({ pointer, code: 'unused', detail: 'no input of the workflow has this name as its value' }))
  if (flaws.length > 0) throw invalidWorkflow(flaws)
}
