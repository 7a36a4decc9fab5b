import type { GenerateRequest } from '@comfy-balancer/contract/generate'
import { broughtUsesOf } from '@comfy-balancer/domain/brought-names'
import type { Capability } from '@comfy-balancer/domain/capability'
import { reachable } from '@comfy-balancer/domain/reachable'
import type { Workflow } from '@comfy-balancer/domain/workflow'
import { inputUrlsOf, maxInputUrls } from '@comfy-balancer/service-kit/input-urls'
import { InputUnavailable } from './input-unavailable.ts'

/** Where a file is to be had. */
export type FileSource = { readonly url: string } | { readonly upload: string }

/** An input of a graph node that names a file which the task brings along; `name` where it does so by a name. */
export type Place = { readonly graphNode: string; readonly input: string; readonly name?: string }

/** A file that ComfyUI must be given before the workflow runs, and every place that names it. */
export type WantedFile = { readonly source: FileSource; readonly places: readonly Place[] }

/** The workflow, its output graph nodes, the files that come along by name, and what this node can run. */
export type Wanting = {
  readonly workflow: Workflow
  readonly outputs: readonly string[]
  readonly brought: NonNullable<GenerateRequest['inputs']>
  readonly capability: Pick<Capability, 'isUpload'>
}

/** The files that a workflow needs, each once: those it names by URL, and those that come along by name. What does not run needs none. */
export const wantedFilesOf = (wanting: Wanting): WantedFile[] => {
  const found = new Map<string, { source: FileSource; places: Place[] }>()
  for (const { source, place } of [...byUrl(wanting), ...byName(wanting)]) {
    const key = JSON.stringify(source)
    const known = found.get(key) ?? { source, places: [] }
    known.places.push(place)
    found.set(key, known)
  }
  return [...found.values()]
}

type Found = { readonly source: FileSource; readonly place: Place }

const byUrl = ({ workflow, outputs, capability }: Wanting): Found[] => {
  const urls = inputUrlsOf(workflow, { outputs, isUpload: capability.isUpload })
  const count = new Set(urls.map(({ url }) => url)).size
  if (count <= maxInputUrls) return urls.map(({ url, ...place }) => ({ source: { url }, place }))
  throw new InputUnavailable('blocked', `the workflow names ${count} files by URL; the limit is ${maxInputUrls}`)
}

const byName = ({ workflow, outputs, brought }: Wanting): Found[] => {
  const running = reachable(workflow, outputs)
  return broughtUsesOf(workflow, new Set(Object.keys(brought)))
    .filter(({ graphNode }) => running.has(graphNode))
    .map(place => ({ source: sourceOf(brought[place.name]!, place), place }))
}

const sourceOf = ({ url, upload }: Wanting['brought'][string], place: Place): FileSource => {
  if (url !== undefined) return { url }
  if (upload !== undefined) return { upload }
  throw new InputUnavailable('missing', `the file ${place.name} came without its bytes`)
}
