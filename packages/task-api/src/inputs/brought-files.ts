import { readLoraSource } from '@comfy-balancer/domain/lora-source'
import type { Flaw } from '@comfy-balancer/domain/workflow'
import { type EgressRules, urlFault } from '@comfy-balancer/service-kit/egress-rules'
import { Refusal } from '@comfy-balancer/service-kit/problems'
import { summaryOf } from '../runnable.ts'
import { type Bringing, inputPointer } from './brought-names.ts'
import type { InputLibrary } from './input-library.ts'
import type { SetAside } from './set-aside.ts'

/** Refuses URLs that may not be fetched, as far as their text tells. */
export const refuseBlockedUrls = ({ inputs = {} }: Bringing, rules: EgressRules): void => {
  const flaws = Object.entries(inputs).flatMap(([name, { url }]) => {
    const fault = url === undefined ? undefined : urlFault(url, rules)
    if (fault === undefined) return []
    return [{ pointer: `${inputPointer(name)}/url`, code: 'input-url-blocked', detail: `the input URL ${fault}` }]
  })
  if (flaws.length > 0) throw new Refusal('input-url-blocked', summaryOf(flaws), { errors: flaws })
}

/** Files that must be there for as long as a task may take; `placeOf` says where in the request something of them stands. */
export type Keeping = {
  readonly brought: Bringing
  readonly placeOf: (pointer: string) => string
  readonly atLeastMs: number
}

type Wanted = { readonly id: string; readonly pointer: string; readonly atLeastMs: number }

/**
 * Sees to it that what the tasks need is there for as long as they may take: uploads are kept longer, and what came in the request itself is
 * stored. Throws a Refusal that points at each upload that is not there; then nothing was stored.
 */
export const keepBrought = async (
  library: InputLibrary,
  tenant: string,
  keepings: readonly Keeping[],
  files: SetAside['files']
): Promise<void> => {
  const wanted = eachOnce(keepings.flatMap(wantedIn))
  const flaws = (
    await Promise.all(
      wanted
        .filter(({ id }) => !files.has(id))
        .map(async ({ id, pointer, atLeastMs }): Promise<Flaw[]> => {
          if (await library.use(tenant, id, atLeastMs)) return []
          return [{ pointer, code: 'unknown-upload', detail: `there is no upload ${id}; it may have expired` }]
        })
    )
  ).flat()
  if (flaws.length > 0) throw new Refusal('input-invalid', summaryOf(flaws), { errors: flaws })
  for (const [id, { name, bytes, pointer }] of files) {
    const { atLeastMs } = wanted.find(one => one.id === id) ?? { atLeastMs: 0 }
    await library.keep(tenant, await library.put(tenant, { filename: name, body: onceOf(bytes), pointer }), atLeastMs)
  }
}

const eachOnce = (wanted: readonly Wanted[]): Wanted[] => {
  const byId = new Map<string, Wanted>()
  for (const one of wanted) {
    const known = byId.get(one.id) ?? one
    byId.set(one.id, { ...known, atLeastMs: Math.max(known.atLeastMs, one.atLeastMs) })
  }
  return [...byId.values()]
}

const wantedIn = ({ brought: { inputs = {}, loras = [] }, placeOf, atLeastMs }: Keeping): Wanted[] => [
  ...Object.entries(inputs).flatMap(([name, { upload: id }]) =>
    id === undefined ? [] : [{ id, pointer: placeOf(`${inputPointer(name)}/upload`), atLeastMs }]
  ),
  ...loras.flatMap(({ source }, at) => {
    const read = readLoraSource(source)
    return read?.kind === 'upload' ? [{ id: read.id, pointer: placeOf(`/loras/${at}/source`), atLeastMs }] : []
  })
]

async function* onceOf(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes
}
