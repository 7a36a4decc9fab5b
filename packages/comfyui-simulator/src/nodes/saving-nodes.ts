import { writeFile } from 'node:fs/promises'
import type { FolderType } from '../files/folders.ts'
import { savedName, savedPath, saveTarget } from '../files/save-path.ts'
import { isObject, type Json, stringifyPythonJson } from '../json/python-json.ts'
import type { ImageBatch } from '../media/image-batch.ts'
import { encodePng } from '../media/png-encoder.ts'
import { imageInput, maskInput, textInput } from './inputs.ts'
import { maskToImage } from './mask-nodes.ts'
import type { NodeCall, NodeLibrary, NodeOutcome } from './node-class.ts'

/** Nodes that write pictures, and the one that sends them over the WebSocket. */
export const savingNodes: NodeLibrary = {
  SaveImage: {
    execute: (inputs, call) =>
      saveImages(imageInput(inputs, 'images'), 'output', textInput(inputs, 'filename_prefix', 'ComfyUI'), call)
  },
  PreviewImage: {
    execute: (inputs, call) => saveImages(imageInput(inputs, 'images'), 'temp', temporaryPrefix(call), call)
  },
  MaskPreview: {
    execute: (inputs, call) => saveImages(maskToImage(maskInput(inputs, 'mask')), 'temp', temporaryPrefix(call), call)
  },
  SaveImageWebsocket: {
    execute: async (inputs, call) => {
      const { frames, width, height, channels } = imageInput(inputs, 'images')
      for (const [index, pixels] of frames.entries()) {
        const bytes = await encodePng({ width, height, channels, pixels }, 1)
        call.progress(index, frames.length, { format: 'png', bytes })
      }
      return {}
    },
    fingerprint: () => String(process.hrtime.bigint())
  }
}

/** Writes a batch as PNG files with the graph in their text chunks. */
export async function saveImages(
  image: ImageBatch,
  type: FolderType,
  prefix: string,
  call: NodeCall
): Promise<NodeOutcome> {
  const target = saveTarget(call.machine.folders, type, prefix, image)
  const text = metadataText(call)
  const images: Json[] = []
  for (const [index, pixels] of image.frames.entries()) {
    const { width, height, channels } = image
    const filename = savedName(target, index, 'png')
    const level = type === 'temp' ? 1 : 4
    await writeFile(savedPath(target, filename), await encodePng({ width, height, channels, pixels, text }, level))
    images.push({ filename, subfolder: target.subfolder, type })
  }
  return { ui: { images } }
}

/** The text chunks ComfyUI writes into pictures: the prompt and what `extra_pnginfo` brings. */
export function metadataText(call: NodeCall): [string, string][] {
  const text: [string, string][] = [['prompt', stringifyPythonJson(call.prompt)]]
  const extra = isObject(call.extraData) ? call.extraData.extra_pnginfo : undefined
  if (isObject(extra)) for (const [key, value] of Object.entries(extra)) text.push([key, stringifyPythonJson(value)])
  return text
}

/** A prefix in the temp folder that no other node uses. */
export function temporaryPrefix(call: NodeCall): string {
  const letters = 'abcdefghijklmnopqrstupvxyz'
  const tail = Array.from({ length: 5 }, () => letters[Math.floor(call.machine.random() * letters.length)])
  return `ComfyUI_temp_${tail.join('')}`
}
