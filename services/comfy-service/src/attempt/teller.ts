import type { Log } from '@comfy-balancer/service-kit/log'

export type Teller<T> = {
  readonly say: (value: T) => void
  /** What was not told yet will not be. */
  readonly stop: () => void
}

/** Tells the latest of many values, `gapMs` after the first and then at most that often: whoever listens wants the present, not each step. */
export const createTeller = <T>(gapMs: number, tell: (value: T) => Promise<unknown>, log: Log): Teller<T> => {
  let latest: { readonly value: T } | undefined
  let timer: NodeJS.Timeout | undefined

  const speak = (): void => {
    timer = undefined
    if (!latest) return
    const { value } = latest
    latest = undefined
    timer = setTimeout(speak, gapMs).unref()
    tell(value).catch(err => log.warn({ err }, 'not told yet'))
  }

  return {
    say: value => {
      latest = { value }
      timer ??= setTimeout(speak, gapMs).unref()
    },
    stop: () => {
      clearTimeout(timer)
      latest = undefined
    }
  }
}
