import { createHash } from 'node:crypto'
import type { Catalog } from '@comfy-balancer/contract/catalog'
import { isRecord, listOf, recordOf, type Unchecked } from './record.ts'

type ClassEntry = Catalog['classes'][string]

/** A choice input is `[[options…], …]` in the first form of node definitions and `["COMBO", { options }]` in the third. */
const optionsOf = (input: unknown): string[] | undefined => {
  const [type, settings] = listOf(input)
  const options = Array.isArray(type) ? type : type === 'COMBO' ? recordOf(settings).options : undefined
  if (!Array.isArray(options)) return undefined
  return options
    .filter(option => ['string', 'number', 'boolean'].includes(typeof option))
    .map(String)
    .filter(isShared)
}

/** What we put on a node for one tenant lies in a folder of this name: it is nobody else's, and comes and goes. */
const isShared = (file: string): boolean => !/^comfy-balancer[\\/]/.test(file)

const isUpload = (input: unknown): boolean =>
  Object.entries(recordOf(listOf(input)[1])).some(([name, value]) => name.endsWith('_upload') && value === true)

/** Newer versions grow such inputs at run time: the graph then holds `name.part`, never `name` itself. */
const isGrown = (input: unknown): boolean => /^COMFY_\w*AUTOGROW/.test(String(listOf(input)[0]))

const readClass = (entry: Unchecked, indexOfList: (options: string[]) => number): ClassEntry => {
  const input = recordOf(entry.input)
  const required = recordOf(input.required)
  const inputs = Object.entries({ ...recordOf(input.optional), ...required })
  const uploads = inputs.filter(([, declared]) => isUpload(declared)).map(([name]) => name)
  const choices: Record<string, number> = {}
  for (const [name, declared] of inputs) {
    const options = uploads.includes(name) ? undefined : optionsOf(declared)
    if (options) choices[name] = indexOfList(options)
  }
  const needed = Object.keys(required).filter(name => !isGrown(required[name]))
  return { output: entry.output_node === true, required: needed, choices, uploads }
}

/**
 * The catalog out of an answer of `/object_info`. Equal option lists are stored once. The files an upload input offers are left out:
 * they change with every upload and would make equal nodes look different.
 */
export const readCatalog = (objectInfo: unknown, modelBytes: Record<string, number>): Catalog => {
  const lists: string[][] = []
  const known = new Map<string, number>()
  const indexOfList = (options: string[]): number => {
    const key = JSON.stringify(options)
    const index = known.get(key) ?? lists.push(options) - 1
    known.set(key, index)
    return index
  }
  const classes: Catalog['classes'] = {}
  for (const [name, entry] of Object.entries(recordOf(objectInfo))) {
    if (isRecord(entry)) classes[name] = readClass(entry, indexOfList)
  }
  return {
    classes,
    lists,
    modelBytes: Object.fromEntries(Object.entries(modelBytes).filter(([file]) => isShared(file)))
  }
}

const maxInputFiles = 10_000

/** The files of ComfyUI's input folder, as its upload inputs list them (the top level only); sorted, at most 10,000. */
export const readInputFiles = (objectInfo: unknown): string[] => {
  const files = Object.values(recordOf(objectInfo)).flatMap(entry => {
    const input = recordOf(recordOf(entry).input)
    const inputs = Object.values({ ...recordOf(input.optional), ...recordOf(input.required) })
    return inputs.filter(isUpload).flatMap(declared => optionsOf(declared) ?? [])
  })
  return [...new Set(files)].sort().slice(0, maxInputFiles)
}

const sorted = <T>(record: Record<string, T>): [string, T][] =>
  Object.entries(record).sort(([one], [other]) => (one < other ? -1 : 1))

/** SHA-256 (hex) of what a catalog says, whatever the order in which ComfyUI told it. */
export const catalogDigest = ({ classes, lists, modelBytes }: Catalog): string => {
  const listDigests = lists.map(list =>
    createHash('sha256')
      .update(JSON.stringify([...list].sort()))
      .digest('base64')
  )
  const canonical = sorted(classes).map(([name, { output, required, choices, uploads }]) => [
    name,
    output,
    [...required].sort(),
    sorted(choices).map(([input, index]) => [input, listDigests[index]]),
    [...uploads].sort()
  ])
  return createHash('sha256')
    .update(JSON.stringify([canonical, sorted(modelBytes)]))
    .digest('hex')
}
