import { type Problem, problem } from '@comfy-balancer/contract/problem'

/** The service refused a call, or answered something that is no answer: `problem` says what and where. */
export class ProblemError extends Error {
  override readonly name = 'ProblemError'
  readonly problem: Problem

  constructor(told: Problem) {
    super(`${told.code} (${told.status}): ${told.detail || told.title}`)
    this.problem = told
  }
}

const detailBytes = 2_000

/** Reads what a service answered to a refused call. What is not problem+json (a proxy's page, say) becomes an `internal-error` with the answer's status. */
export const readProblem = async (response: Response): Promise<ProblemError> => {
  const text = await response.text().catch(() => '')
  return new ProblemError(
    asProblem(text) ?? {
      ...problem('internal-error', text.slice(0, detailBytes) || response.statusText),
      status: response.status
    }
  )
}

const asProblem = (text: string): Problem | undefined => {
  try {
    const value: unknown = JSON.parse(text)
    return isProblem(value) ? value : undefined
  } catch {
    return undefined
  }
}

const isProblem = (value: unknown): value is Problem =>
  typeof value === 'object' &&
  value !== null &&
  'code' in value &&
  typeof value.code === 'string' &&
  'status' in value &&
  typeof value.status === 'number' &&
  'detail' in value &&
  typeof value.detail === 'string'
