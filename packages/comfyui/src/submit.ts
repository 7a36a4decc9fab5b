import { ComfyUiError, isPlacement, type Rejection } from './errors.ts'
import { parseJson } from './json.ts'
import { numberOf, recordOf, type Unchecked } from './record.ts'
import type { Answer, Transport } from './transport.ts'

/**
 * What became of `POST /prompt`. `accepted` with node errors means that ComfyUI runs only a part. `failed` does not mean that the
 * prompt is not queued (ComfyUI answers 500 after queueing, and an answer can be lost): look at its queue and history, except when
 * `refused`, since then nothing listened.
 */
export type SubmitOutcome =
  | { readonly kind: 'accepted'; readonly number: number | undefined; readonly nodeErrors: Unchecked }
  | ({ readonly kind: 'rejected'; readonly placement: boolean } & Rejection)
  | {
      readonly kind: 'failed'
      readonly reason: 'server-error' | 'unreachable' | 'timeout' | 'answer'
      readonly refused: boolean
      readonly detail: string
    }

const failed = (reason: 'server-error' | 'answer', detail: string): SubmitOutcome => ({
  kind: 'failed',
  reason,
  refused: false,
  detail
})

const bodyOf = (text: string): Unchecked | undefined => {
  try {
    return recordOf(parseJson(text))
  } catch {
    return undefined
  }
}

const outcomeOf = ({ status, text }: Answer): SubmitOutcome => {
  if (status >= 500) return failed('server-error', `ComfyUI answered ${status}`)
  const body = bodyOf(text)
  if (status === 200) {
    if (body?.prompt_id === undefined)
      return failed('answer', 'ComfyUI accepted the workflow without naming its prompt')
    return { kind: 'accepted', number: numberOf(body.number), nodeErrors: recordOf(body.node_errors) }
  }
  if (status === 413) {
    const error = { type: 'too_large', message: text.slice(0, 200) }
    return { kind: 'rejected', placement: true, error, nodeErrors: {} }
  }
  if (status === 400 && body) {
    const rejection = { error: recordOf(body.error), nodeErrors: recordOf(body.node_errors) }
    return { kind: 'rejected', placement: isPlacement(rejection), ...rejection }
  }
  return failed('answer', `ComfyUI answered ${status}`)
}

const reasons = {
  'comfyui-unreachable': 'unreachable',
  'comfyui-timeout': 'timeout',
  'comfyui-answer': 'answer'
} as const

/** Posts a workflow. Every failure but the caller's own abort is an outcome. */
export const submitPrompt = async (
  transport: Transport,
  text: string,
  bounds: { timeoutMs: number; signal?: AbortSignal | undefined }
): Promise<SubmitOutcome> => {
  const headers = { 'content-type': 'application/json' }
  try {
    return outcomeOf(
      await transport.send({ method: 'POST', path: '/prompt', body: text, headers, isAlone: true, ...bounds })
    )
  } catch (error) {
    if (!(error instanceof ComfyUiError)) throw error
    return { kind: 'failed', reason: reasons[error.code], refused: error.refused, detail: error.message }
  }
}
