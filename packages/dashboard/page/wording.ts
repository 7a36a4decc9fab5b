/** Seconds as people say them: 4.2 s, 42 s, 3 min, 2 h 5 min, 4 days. */
export const duration = (seconds: number): string => {
  if (seconds < 9.95) return `${Math.max(0, seconds).toFixed(1)} s`
  if (seconds < 99.5) return `${Math.round(seconds)} s`
  const minutes = Math.round(seconds / 60)
  if (minutes < 100) return `${minutes} min`
  if (minutes < 48 * 60) return `${Math.floor(minutes / 60)} h ${minutes % 60} min`
  return `${Math.round(minutes / 1440)} days`
}

/** Whole seconds only, for what is repeated every second. */
export const age = (seconds: number): string =>
  seconds < 99.5 ? `${Math.max(0, Math.round(seconds))} s` : duration(seconds)

export const count = (number: number): string => number.toLocaleString('en')

/** `1 node`, `3 nodes`. */
export const counted = (number: number, noun: string): string => `${count(number)} ${noun}${number === 1 ? '' : 's'}`

export const percent = (share: number): string => `${Math.round(100 * share)} %`

export const gigabytes = (bytes: number): string => (bytes / 2 ** 30).toFixed(bytes < 10 * 2 ** 30 ? 1 : 0)

/** The part of a task's id that logdy shows too. */
export const shortId = (id: string): string => id.replace(/^task_/, '').slice(0, 12)

/** A model's file name without folder and ending. */
export const modelName = (model: string): string =>
  model.replace(/^.*[\\/]/, '').replace(/\.(safetensors|ckpt|pt|pth|gguf|sft|bin)$/i, '')

export const clock = (instant: string): string => new Date(instant).toLocaleTimeString('en-GB')

/** Seconds from one instant to another. */
export const secondsBetween = (from: string, to: string | number): number =>
  (new Date(to).getTime() - Date.parse(from)) / 1000
