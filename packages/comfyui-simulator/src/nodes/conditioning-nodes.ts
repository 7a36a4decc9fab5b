import { textInput } from './inputs.ts'
import { loadFiles } from './model-loaders.ts'
import type { NodeCall, NodeClass, NodeInputs, NodeLibrary, NodeOutcome } from './node-class.ts'
import { passThrough } from './pass-through.ts'
import { type ConditioningValue, isType, type ModelValue } from './values.ts'

const secondsPerText = 0.04

const joined: NodeClass = {
  execute: inputs => {
    const parts = Object.values(inputs).filter(value => isType(value, 'CONDITIONING')) as ConditioningValue[]
    const text = parts
      .map(part => part.text)
      .filter(part => part !== '')
      .join(', ')
    return { outputs: [{ type: 'CONDITIONING', text, files: [...new Set(parts.flatMap(part => part.files))] }] }
  }
}

const controlled: NodeClass = {
  execute: async (inputs, call) => {
    const net = inputs.control_net as ModelValue | undefined
    if (isType(net, 'CONTROL_NET')) await loadFiles((net as ModelValue).files, call)
    return passThrough.execute(inputs, call)
  }
}

/** Text encoders and the nodes that combine and change conditions. */
export const conditioningNodes: NodeLibrary = {
  CLIPTextEncode: { execute: (inputs, call) => encode([textInput(inputs, 'text')], inputs, call) },
  CLIPTextEncodeFlux: {
    execute: (inputs, call) => encode([textInput(inputs, 'clip_l'), textInput(inputs, 't5xxl')], inputs, call)
  },
  CLIPTextEncodeSDXL: {
    execute: (inputs, call) => encode([textInput(inputs, 'text_g'), textInput(inputs, 'text_l')], inputs, call)
  },
  TextEncodeHunyuanVideo_ImageToVideo: {
    execute: (inputs, call) => encode([textInput(inputs, 'prompt')], inputs, call)
  },
  ConditioningCombine: joined,
  ConditioningConcat: joined,
  ConditioningAverage: joined,
  ConditioningZeroOut: { execute: () => ({ outputs: [{ type: 'CONDITIONING', text: '', files: [] }] }) },
  ControlNetApply: controlled,
  ControlNetApplyAdvanced: controlled
}

for (const name of [
  'CLIPSetLastLayer',
  'CLIPVisionEncode',
  'ConditioningSetMask',
  'ConditioningSetArea',
  'ConditioningSetTimestepRange',
  'FluxGuidance',
  'ReferenceLatent',
  'StyleModelApply',
  'InpaintModelConditioning',
  'SVD_img2vid_Conditioning',
  'LTXVConditioning',
  'LTXVImgToVideo',
  'LTXVAddGuide',
  'LTXVCropGuides',
  'LTXVPreprocess',
  'HunyuanImageToVideo',
  'SetUnionControlNetType',
  'ModelSamplingFlux',
  'ModelSamplingSD3',
  'ModelSamplingDiscrete',
  'ModelSamplingAuraFlow',
  'VideoLinearCFGGuidance',
  'FreeU',
  'FreeU_V2',
  'PatchModelAddDownscale',
  'RescaleCFG'
]) {
  conditioningNodes[name] = passThrough
}

async function encode(texts: string[], inputs: NodeInputs, call: NodeCall): Promise<NodeOutcome> {
  const clip = inputs.clip as ModelValue | undefined
  const files = isType(clip, 'CLIP') ? (clip as ModelValue).files : []
  await loadFiles(files, call)
  await call.work(secondsPerText)
  const text = [...new Set(texts.filter(part => part !== ''))].join(', ')
  return { outputs: [{ type: 'CONDITIONING', text, files }] }
}
