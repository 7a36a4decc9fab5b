import { createHash } from 'node:crypto'

/**
 * The id under which ComfyUI runs an attempt: a lowercase UUID, as newer versions demand. It follows from task and token, so that a
 * restarted comfy-service recognises its prompt.
 */
export const promptIdOf = (task: string, token: string): string => {
  const hex = createHash('sha256').update(`${task} ${token}`).digest('hex')
  return [hex.slice(0, 8), hex.slice(8, 12), `8${hex.slice(13, 16)}`, `8${hex.slice(17, 20)}`, hex.slice(20, 32)].join(
    '-'
  )
}
