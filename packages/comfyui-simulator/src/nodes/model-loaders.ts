import { numberInput, textInput } from './inputs.ts'
import { type NodeCall, type NodeClass, NodeError, type NodeInputs, type NodeLibrary } from './node-class.ts'
import { isType, type ModelValue } from './values.ts'

const fromDisk = ['MODEL', 'CLIP', 'VAE']

/** Nodes that bring model files into VRAM, which takes time by their size. */
export const modelLoaders: NodeLibrary = {
  CheckpointLoaderSimple: loader(['ckpt_name'], fromDisk),
  ImageOnlyCheckpointLoader: loader(['ckpt_name'], ['MODEL', 'CLIP_VISION', 'VAE']),
  unCLIPCheckpointLoader: loader(['ckpt_name'], [...fromDisk, 'CLIP_VISION']),
  UNETLoader: loader(['unet_name'], ['MODEL']),
  CLIPLoader: loader(['clip_name'], ['CLIP']),
  DualCLIPLoader: loader(['clip_name1', 'clip_name2'], ['CLIP']),
  TripleCLIPLoader: loader(['clip_name1', 'clip_name2', 'clip_name3'], ['CLIP']),
  VAELoader: loader(['vae_name'], ['VAE']),
  ControlNetLoader: loader(['control_net_name'], ['CONTROL_NET']),
  DiffControlNetLoader: loader(['control_net_name'], ['CONTROL_NET']),
  CLIPVisionLoader: loader(['clip_name'], ['CLIP_VISION']),
  StyleModelLoader: loader(['style_model_name'], ['STYLE_MODEL']),
  UpscaleModelLoader: loader(['model_name'], ['UPSCALE_MODEL']),
  LoraLoader: {
    execute: async (inputs, call) => {
      const model = await withLora(inputs, 'model', call)
      return { outputs: [model, inputs.clip] }
    }
  },
  LoraLoaderModelOnly: { execute: async (inputs, call) => ({ outputs: [await withLora(inputs, 'model', call)] }) }
}

function loader(fileInputs: string[], types: string[]): NodeClass {
  return {
    execute: async (inputs, call) => {
      const files = fileInputs.map(name => textInput(inputs, name)).filter(name => name !== 'pixel_space')
      await loadFiles(files, call)
      const value = (type: string): ModelValue => ({ type, files, name: files[0] ?? 'pixel_space' })
      return { outputs: types.map(value) }
    }
  }
}

/** Brings files into VRAM one after the other; a slow node takes longer by the fault's factor. */
export async function loadFiles(files: string[], call: NodeCall): Promise<void> {
  const before = call.machine.clock.now()
  for (const file of files) {
    if (call.machine.catalogue.bytesOf(file) === 0) throw emptyFile()
    await call.machine.memory.use(file)
  }
  const taken = call.machine.clock.now() - before
  if (call.slowness > 1) await call.work(((call.slowness - 1) * taken * call.machine.speed) / call.slowness)
}

function emptyFile(): NodeError {
  const type = 'safetensors._safetensors_rust.SafetensorError'
  return new NodeError(type, 'Error while deserializing header: header too small')
}

async function withLora(inputs: NodeInputs, name: string, call: NodeCall): Promise<unknown> {
  const model = inputs[name]
  if (!isType(model, 'MODEL') || numberInput(inputs, 'strength_model', 1) === 0) return model
  const lora = textInput(inputs, 'lora_name')
  await loadFiles([lora], call)
  const value = model as ModelValue
  return { ...value, files: [...value.files, lora] }
}
