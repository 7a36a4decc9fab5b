import type { Catalog } from '@comfy-balancer/contract/catalog'
import type { Choice, Need } from '@comfy-balancer/contract/need'

/** File extensions under which models are kept (ComfyUI's own list and those of common packs). */
const modelFile = /\.(safetensors|sft|ckpt|pt|pt2|pth|bin|pkl|gguf|onnx|engine|torchscript)$/i

/** ComfyUI lists only the top level of its input folder, yet takes files from subfolders, and names that say it is that folder. */
const outsideList = /[\\/]|\[input\]$/

/** A path that climbs, is absolute, names a drive, a scheme or another of ComfyUI's folders: it would be read from beyond the input folder. */
const leavesFolder = /\[(output|temp)\]$|(^|[\\/])\.\.([\\/ ]|$)|^[\\/]|^[A-Za-z][A-Za-z0-9+.-]*:(?!\/\/)|\0/

/** Windows and POSIX spellings of one path, as one. */
export const foldPath = (path: string): string => path.replaceAll('\\', '/')

/** True when a value looks like the name of a model file. */
export const isModelFile = (value: string): boolean => modelFile.test(value)

/** A catalog made quick to ask. Build one per digest and keep it. */
export type Capability = {
  readonly hasClass: (classType: string) => boolean
  readonly isOutput: (classType: string) => boolean
  readonly required: (classType: string) => readonly string[]
  readonly isUpload: (classType: string, input: string) => boolean
  /** The values an input takes, undefined when it is free or unknown. */
  readonly options: (classType: string, input: string) => readonly string[] | undefined
  /** The node's own spelling of a value, undefined when its list lacks it; the value itself where the input is free. */
  readonly spelling: (choice: Choice) => string | undefined
  readonly listsModels: (classType: string, input: string) => boolean
  readonly modelBytes: (model: string) => number | undefined
  /** Every model file that it can load, sorted. */
  readonly models: () => readonly string[]
}

/** Indexes a catalog: option lists become maps from folded spelling to the node's own. */
export const createCapability = (catalog: Catalog): Capability => {
  const spellings = catalog.lists.map(list => new Map(list.map(value => [foldPath(value), value])))
  const modelLists = catalog.lists.map(list => list.some(isModelFile))
  const bytes = new Map(Object.entries(catalog.modelBytes).map(([file, size]) => [foldPath(file), size]))
  const known = new Map(Object.entries(catalog.classes))
  const listOf = (classType: string, input: string): number | undefined => {
    const choices = known.get(classType)?.choices
    return choices && Object.hasOwn(choices, input) ? choices[input] : undefined
  }
  const isUpload = (classType: string, input: string): boolean => known.get(classType)?.uploads.includes(input) ?? false
  return {
    hasClass: classType => known.has(classType),
    isOutput: classType => known.get(classType)?.output ?? false,
    required: classType => known.get(classType)?.required ?? [],
    isUpload,
    options: (classType, input) => {
      const list = listOf(classType, input)
      return list === undefined ? undefined : catalog.lists[list]
    },
    spelling: ({ classType, input, value }) => {
      const list = listOf(classType, input)
      if (list === undefined) return value
      return spellings[list]?.get(foldPath(value))
    },
    listsModels: (classType, input) => {
      const list = listOf(classType, input)
      return list !== undefined && modelLists[list] === true
    },
    modelBytes: model => bytes.get(foldPath(model)),
    models: () => [...new Set(catalog.lists.flat().filter(isModelFile))].sort()
  }
}

/** The same capability on a node with these files in its input folder, which equal nodes do not share. */
export const withInputFiles = (capability: Capability, files: ReadonlySet<string>): Capability => ({
  ...capability,
  options: (classType, input) =>
    capability.isUpload(classType, input) ? [...files] : capability.options(classType, input),
  spelling: choice => {
    if (!capability.isUpload(choice.classType, choice.input)) return capability.spelling(choice)
    if (files.has(choice.value)) return choice.value
    return outsideList.test(choice.value) && !leavesFolder.test(choice.value) ? choice.value : undefined
  }
})

/** What of a need a node lacks: class names, and values as `class.input = value`. Empty when it can run the workflow. */
export const lacking = (need: Need, capability: Capability): string[] => [
  ...need.classes.filter(classType => !capability.hasClass(classType)),
  ...[...need.models, ...need.files]
    .filter(choice => capability.hasClass(choice.classType) && capability.spelling(choice) === undefined)
    .map(choice => `${choice.classType}.${choice.input} = ${choice.value}`)
]

/** The distinct model files of a need, separators folded: what residency is about. */
export const modelsOf = (need: Need): string[] => [...new Set(need.models.map(choice => foldPath(choice.value)))].sort()

/** True when a node's labels hold every label that a need asks for. */
export const hasLabels = (need: Need, labels: Readonly<Record<string, string>>): boolean =>
  Object.entries(need.labels).every(([name, value]) => labels[name] === value)
