import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { modelFilePattern } from '../nodes/model-file.ts'

/** A model file that exists by name and size only. */
export interface ModelFile {
  name: string
  bytes: number
}

/** The model folders ComfyUI 0.3.64 lists under `/models`, in its order. */
export const modelFolders = [
  'checkpoints',
  'configs',
  'loras',
  'vae',
  'text_encoders',
  'diffusion_models',
  'clip_vision',
  'style_models',
  'embeddings',
  'diffusers',
  'vae_approx',
  'controlnet',
  'gligen',
  'upscale_models',
  'custom_nodes',
  'hypernetworks',
  'photomaker',
  'classifiers',
  'model_patches',
  'audio_encoders'
] as const

const gigabyte = 1e9

/** The files a simulator has when nothing else is said. */
export const defaultModels: Record<string, Record<string, number>> = {
  checkpoints: {
    'dreamshaper_8.safetensors': 2.13 * gigabyte,
    'flux1-dev-fp8.safetensors': 17.25 * gigabyte,
    'sd_xl_base_1.0.safetensors': 6.94 * gigabyte
  },
  loras: { 'add-detail-xl.safetensors': 0.228 * gigabyte, 'pixel-art-xl.safetensors': 0.171 * gigabyte },
  vae: { 'ae.safetensors': 0.335 * gigabyte, 'sdxl_vae.safetensors': 0.335 * gigabyte },
  text_encoders: {
    'clip_g.safetensors': 1.39 * gigabyte,
    'clip_l.safetensors': 0.246 * gigabyte,
    't5xxl_fp8_e4m3fn.safetensors': 4.89 * gigabyte
  },
  diffusion_models: { 'flux1-dev.safetensors': 23.8 * gigabyte, 'flux1-schnell.safetensors': 23.78 * gigabyte },
  clip_vision: { 'clip_vision_h.safetensors': 1.26 * gigabyte },
  style_models: { 'flux1-redux-dev.safetensors': 0.129 * gigabyte },
  embeddings: { 'easynegative.safetensors': 25_000 },
  controlnet: { 'controlnet-canny-sdxl-1.0.safetensors': 2.5 * gigabyte },
  upscale_models: { '4x-UltraSharp.pth': 0.067 * gigabyte }
}

/** Model files by folder. */
export class ModelCatalogue {
  readonly #folders = new Map<string, Map<string, number>>()

  readonly #directory: string | undefined

  /** Files of `directory/<folder>` on disk count too, as they come and go. */
  constructor(models: Record<string, Record<string, number>> = defaultModels, directory?: string) {
    this.#directory = directory
    for (const folder of modelFolders) this.#folders.set(folder, new Map())
    for (const [folder, files] of Object.entries(models)) {
      for (const [name, bytes] of Object.entries(files)) this.add(folder, name, bytes)
    }
  }

  add(folder: string, name: string, bytes: number): void {
    const files = this.#folders.get(folder) ?? new Map<string, number>()
    this.#folders.set(folder, files)
    if (!files.has(name)) files.set(name, Math.round(bytes))
  }

  folders(): string[] {
    return [...this.#folders.keys()]
  }

  /** The files of a folder sorted by name, or undefined when there is no such folder. */
  files(folder: string): ModelFile[] | undefined {
    const files = this.#folders.get(folder)
    if (!files) return undefined
    const all = new Map([...files, ...this.#onDisk(folder)])
    return [...all].map(([name, bytes]) => ({ name, bytes })).sort((a, b) => (a.name < b.name ? -1 : 1))
  }

  /** The size of a file in bytes; a name no folder has counts as 1 GB. */
  bytesOf(name: string): number {
    for (const [folder, files] of this.#folders) {
      const bytes = files.get(name) ?? this.#onDisk(folder).get(name)
      if (bytes !== undefined) return bytes
    }
    return gigabyte
  }

  #onDisk(folder: string): Map<string, number> {
    if (this.#directory === undefined) return new Map()
    const place = join(this.#directory, folder)
    try {
      const names = readdirSync(place, { recursive: true, encoding: 'utf8' }).filter(name =>
        modelFilePattern.test(name)
      )
      return new Map(names.map(name => [name, statSync(join(place, name)).size]))
    } catch {
      return new Map()
    }
  }
}
