import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import type { Folders } from '../files/folders.ts'
import type { ModelCatalogue } from '../gpu/model-catalogue.ts'
import { isObject, type Json, type JsonObject, parsePythonJson } from '../json/python-json.ts'
import { learnedNode } from './learned-node.ts'
import type { NodeClass, NodeLibrary } from './node-class.ts'
import { fileOptions } from './option-sources.ts'

/** One input as validation sees it: a type name or a list of options, with its options object. */
export interface InputSpec {
  name: string
  type: string | Json[]
  options: JsonObject
  isRequired: boolean
  /** `[type, options]` as `/object_info` has it. */
  config: Json
}

/** A class the simulator knows: its `/object_info` entry and its behaviour. */
export interface KnownClass {
  info: JsonObject
  behaviour: NodeClass
}

/** What file lists are made from. */
export interface ClassTableDeps {
  catalogue: ModelCatalogue
  folders: Folders
}

/** Every node class by name, in the order `/object_info` shows them. */
export class ClassTable {
  readonly #classes = new Map<string, KnownClass>()
  readonly #deps: ClassTableDeps

  constructor(deps: ClassTableDeps) {
    this.#deps = deps
  }

  add(name: string, known: KnownClass): void {
    this.#classes.set(name, known)
  }

  /** Lets a name count as an input file although it is not on disk. */
  claimFile(name: string): void {
    this.#deps.folders.claim(name)
  }

  get(name: string): KnownClass | undefined {
    return this.#classes.get(name)
  }

  names(): string[] {
    return [...this.#classes.keys()]
  }

  isOutput(name: string): boolean {
    return this.#classes.get(name)?.info.output_node === true
  }

  outputTypes(name: string): Json[] {
    const output = this.#classes.get(name)?.info.output
    return Array.isArray(output) ? output : []
  }

  isListOutput(name: string, slot: number): boolean {
    const flags = this.#classes.get(name)?.info.output_is_list
    return Array.isArray(flags) && flags[slot] === true
  }

  hasHidden(name: string, kind: string): boolean {
    const hidden = (this.#classes.get(name)?.info.input as JsonObject | undefined)?.hidden
    return isObject(hidden) && Object.values(hidden).some(value => value === kind || (value as Json[])?.[0] === kind)
  }

  /** The `/object_info` entry with today's file lists, or undefined for an unknown class. */
  describe(name: string): JsonObject | undefined {
    const known = this.#classes.get(name)
    if (!known) return undefined
    const input: JsonObject = {}
    for (const [section, specs] of Object.entries(known.info.input as JsonObject)) {
      input[section] = section === 'hidden' ? specs : this.#withFiles(name, specs as JsonObject)
    }
    return { ...known.info, input }
  }

  /** The required and optional inputs of a class, in order. */
  inputsOf(name: string): InputSpec[] {
    const input = this.describe(name)?.input as JsonObject | undefined
    const section = (key: string): InputSpec[] =>
      Object.entries((input?.[key] ?? {}) as JsonObject).map(([inputName, config]) => {
        const [type, options] = config as [string | Json[], JsonObject | undefined]
        const spelled = options ? config : [type as Json, {}]
        return {
          name: inputName,
          type,
          options: options ?? {},
          isRequired: key === 'required',
          config: spelled as Json
        }
      })
    return [...section('required'), ...section('optional')]
  }

  #withFiles(className: string, specs: JsonObject): JsonObject {
    const filled: JsonObject = {}
    for (const [inputName, config] of Object.entries(specs)) {
      const list = this.#filesFor(className, inputName)
      filled[inputName] = list ? withOptions(config as Json[], list) : (config as Json)
    }
    return filled
  }

  #filesFor(className: string, inputName: string): Json[] | undefined {
    const source = fileOptions(className, inputName)
    if (!source) return undefined
    if (source.folder === 'input' || source.folder === 'output') {
      const files = mediaFiles(this.#deps.folders.of(source.folder)).filter(name => source.offers?.test(name) ?? true)
      return [...new Set([...files, ...this.#deps.folders.claimed()])].sort()
    }
    const names = (this.#deps.catalogue.files(source.folder) ?? []).map(file => file.name)
    return [...names, ...(source.extra ?? [])]
  }
}

/** The options of a combo input in either spelling; none for other inputs. */
export function optionsOf(config: Json[]): Json[] {
  if (Array.isArray(config[0])) return config[0]
  const options = isObject(config[1]) ? config[1].options : undefined
  return config[0] === 'COMBO' && Array.isArray(options) ? options : []
}

function withOptions(config: Json[], options: Json[]): Json[] {
  if (Array.isArray(config[0])) return [options, ...config.slice(1)]
  const declared = config[1] as JsonObject
  return Object.hasOwn(declared, 'options') ? [config[0] as Json, { ...declared, options }] : config
}

function mediaFiles(directory: string): string[] {
  return readdirSync(directory).filter(name => statSync(join(directory, name), { throwIfNoEntry: false })?.isFile())
}

const recordedInfo = new URL('../../../data/object-info.json.gz', import.meta.url)

/**
 * Reads the recorded `/object_info` of ComfyUI 0.3.64: the classes of a library with their behaviour, the others as classes of which only
 * the description is known.
 */
export function recordedClasses(library: NodeLibrary): Map<string, KnownClass> {
  const recorded = parsePythonJson(gunzipSync(readFileSync(recordedInfo)).toString('utf8')) as JsonObject
  const entries = Object.entries(recorded) as [string, JsonObject][]
  return new Map(
    entries.map(([name, info]) => [name, { info, behaviour: library[name] ?? learnedNode(info.output_node === true) }])
  )
}
