import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

export type GraphNodes = Record<string, { class_type: string; inputs: Record<string, unknown> }>

/** What ComfyUI says about its classes, as far as the tests ask. */
export type ObjectInfo = Record<
  string,
  { output_node: boolean; input: { required?: Record<string, unknown[]>; optional?: Record<string, unknown[]> } }
>

/** Workflows that other people's programs really send; not part of the repository. */
export const corpusFolder = fileURLToPath(new URL('../../../../../shared/workflows-corpus', import.meta.url))
export const hasCorpus = existsSync(corpusFolder)

/** A workflow as its caller sends it: `pictures` are the files it takes from ComfyUI's folder, `urls` those it names by URL. */
export type CorpusWorkflow = {
  readonly name: string
  readonly text: string
  readonly graphNodes: GraphNodes
  readonly pictures: readonly string[]
  readonly urls: readonly string[]
}

/** Reads every workflow of the corpus. What is left open in one is filled in, and its URLs lead to `pictureServer` instead. */
export const readCorpus = (objectInfo: ObjectInfo, pictureServer: string): CorpusWorkflow[] =>
  readdirSync(corpusFolder)
    .filter(name => name.endsWith('.json'))
    .map(name => readWorkflow(name, objectInfo, pictureServer))

const readWorkflow = (name: string, objectInfo: ObjectInfo, pictureServer: string): CorpusWorkflow => {
  const filled = filledIn(readFileSync(join(corpusFolder, name), 'utf8'))
  const outside = uploadValues(JSON.parse(filled), objectInfo).filter(isUrl)
  const text = outside.reduce((text, url) => text.replaceAll(url, pictureServer + new URL(url).pathname), filled)
  const graphNodes = JSON.parse(text) as GraphNodes
  const values = uploadValues(graphNodes, objectInfo)
  return { name, text, graphNodes, urls: values.filter(isUrl), pictures: values.filter(value => !isUrl(value)) }
}

const isUrl = (value: string): boolean => /^https?:/.test(value)

/** What a person fills in: the value that SwarmUI's placeholder names last, a seed where that is -1, a picture where there is none. */
const filledIn = (text: string): string =>
  text
    .replace(/"%%_COMFYFIXME_\$\{[^}]*:(-?[\d.]+)\}_ENDFIXME_%%"/g, (_, value: string) =>
      value === '-1' ? '18446744073709551615' : value
    )
    .replace(/\$\{[^}"]*?:([^}":]*)\}/g, '$1')
    .replace(/("image":\s*)""/g, '$1"chosen.png"')

const uploadValues = (graphNodes: GraphNodes, objectInfo: ObjectInfo): string[] =>
  Object.values(graphNodes).flatMap(({ class_type: classType, inputs }) =>
    Object.entries(inputs).flatMap(([input, value]) =>
      typeof value === 'string' && isUpload(objectInfo, classType, input) ? [value] : []
    )
  )

const isUpload = (objectInfo: ObjectInfo, classType: string, input: string): boolean => {
  const { required, optional } = objectInfo[classType]!.input
  const options = { ...optional, ...required }[input]?.[1] ?? {}
  return Object.entries(options).some(([name, value]) => name.endsWith('_upload') && value === true)
}

/** What people found in a workflow by reading it: inputs that name models, the models, and inputs that name media. */
export type Findings = { readonly loaders: string[]; readonly models: string[]; readonly media: string[] }

/** The corpus's own index: file name → findings. */
export const readIndex = (): Map<string, Findings> => {
  const [, ...lines] = readFileSync(join(corpusFolder, 'INDEX.tsv'), 'utf8').trim().split('\n')
  return new Map(
    lines.map(line => {
      const cells = line.split('\t')
      return [cells[0]!, { loaders: words(cells[9]), models: words(cells[10]), media: words(cells[12]) }]
    })
  )
}

const words = (cell = '-'): string[] => (cell.trim() === '-' ? [] : cell.split(',').map(word => word.trim()))
