import type { Problem } from '@comfy-balancer/contract/problem'

/** What the service refused, in its own words. */
export class ProblemError extends Error {
  readonly status: number
  readonly code: string

  constructor(status: number, problem: Partial<Problem>) {
    super(problem.detail ?? problem.title ?? `The service answered ${status}`)
    this.status = status
    this.code = problem.code ?? ''
  }
}

const timeoutMs = 15_000

/** The address of something the API names, relative to this page: it may stand behind a path prefix. */
export const addressOf = (path: string): string => `.${path}`

/** Asks the API. Rejects with a ProblemError when it refuses, and with one of status 0 when it does not answer. */
export const ask = async (path: string, init: RequestInit = {}): Promise<Response> => {
  const response = await fetch(addressOf(path), { ...init, signal: AbortSignal.timeout(timeoutMs) }).catch(() => {
    throw new ProblemError(0, { detail: 'The balancer does not answer.' })
  })
  if (response.ok) return response
  throw new ProblemError(response.status, (await response.json().catch(() => ({}))) as Partial<Problem>)
}

/** Asks the API for JSON of a known shape: it serves this very page, so both are of one version. */
export const askFor = async <T>(path: string, init?: RequestInit): Promise<T> => (await ask(path, init)).json()
