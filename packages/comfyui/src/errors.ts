import { isModelFile } from '@comfy-balancer/domain/capability'
import { isRecord, listOf, recordOf, stringOf, type Unchecked } from './record.ts'

/**
 * Why ComfyUI gave no usable answer. `comfyui-unreachable`: no connection, or it broke; `comfyui-timeout`: no whole answer before the
 * deadline; `comfyui-answer`: an answer that is not what was asked for (status, shape or size).
 */
export type ComfyUiErrorCode = 'comfyui-unreachable' | 'comfyui-timeout' | 'comfyui-answer'

/** A call to ComfyUI that failed. `refused` tells that nothing listens there: the process is gone or not up yet. */
export class ComfyUiError extends Error {
  override readonly name = 'ComfyUiError'
  readonly code: ComfyUiErrorCode
  readonly refused: boolean
  readonly status: number | undefined

  constructor(
    code: ComfyUiErrorCode,
    detail: string,
    more: { cause?: unknown; refused?: boolean; status?: number } = {}
  ) {
    super(detail, { cause: more.cause })
    this.code = code
    this.refused = more.refused ?? false
    this.status = more.status
  }
}

/** ComfyUI's own words about a refused workflow: `error` and `node_errors` of its answer. */
export type Rejection = { readonly error: Unchecked; readonly nodeErrors: Unchecked }

const modelInput =
  /^(ckpt|unet|clip|vae|lora|control_net|style_model|gligen|hypernetwork|photomaker|audio_encoder|config|model)_(name|path)\d*$/

const isModelChoice = (extra: Unchecked): boolean => {
  if (modelInput.test(stringOf(extra.input_name) ?? '')) return true
  const options = listOf(listOf(extra.input_config)[0])
  return [extra.received_value, ...options].some(value => typeof value === 'string' && isModelFile(value))
}

const isPlacementError = (error: Unchecked): boolean => {
  if (error.type === 'value_not_in_list') return isModelChoice(recordOf(error.extra_info))
  return error.type === 'custom_validation_failed' && /invalid \w+ file/i.test(stringOf(error.details) ?? '')
}

/**
 * Whether a rejection is about this ComfyUI and not about the workflow, so that another one may accept it: a class that is not
 * installed, a model or an input file that is not there. One error of another kind makes it the workflow's fault.
 */
export const isPlacement = ({ error, nodeErrors }: Rejection): boolean => {
  if (error.type === 'missing_node_type') return recordOf(error.extra_info).class_type != null
  if (error.type === 'invalid_prompt') return /does not exist/.test(stringOf(error.message) ?? '')
  const errors = Object.values(nodeErrors).flatMap(node => listOf(recordOf(node).errors).filter(isRecord))
  return errors.length > 0 && errors.every(isPlacementError)
}

/** The text without the folders of the machine it came from: of each absolute path only the last part is left. */
export const withoutHostPaths = (text: string): string =>
  text.replace(/(?<![\w:/.<>\\])(?:[A-Za-z]:)?[\\/]{1,2}(?:[^\s'":,;()<>|\\/]+[\\/])+([^\s'":,;()<>|\\/]*)/g, '…/$1')

/** Whether a run-time error of ComfyUI means that the GPU's memory was not enough (CUDA, ROCm, MPS and ComfyUI's own words). */
export const isOutOfMemory = (exceptionType: string, message: string): boolean =>
  /(^|\.)OutOfMemoryError$/.test(exceptionType) ||
  /\b(CUDA|HIP|XPU|MPS|NPU)\b[^\n]{0,60}out of memory|Allocation on device/i.test(message)
