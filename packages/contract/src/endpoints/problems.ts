import { ref } from '../endpoint.ts'
import { Problem } from '../problem.ts'

/** What any endpoint may answer besides its own. */
export const problems = {
  400: ref(Problem),
  401: ref(Problem),
  403: ref(Problem),
  404: ref(Problem),
  429: ref(Problem),
  500: ref(Problem),
  503: ref(Problem)
} as const
