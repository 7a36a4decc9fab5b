import type { GenerateRequest, ShotRequest } from '@comfy-balancer/contract/generate'
import { Refusal } from '@comfy-balancer/service-kit/problems'
import type { TaskApiDeps } from './deps.ts'
import { objectText } from './object-text.ts'

/** One entry of a request: its parsed form, its text, and where in the request it stands (a JSON Pointer, empty for the whole). */
export type Shot = {
  readonly body: ShotRequest
  /** What it says itself, without what stands beside the list. */
  readonly own: ShotRequest
  readonly text: string
  readonly pointer: string
}

/** The shots that a request asks for. Beside a list of `requests` the other fields are what each of them starts from. */
export const shotsOf = ({ exactText }: Pick<TaskApiDeps, 'exactText'>, body: GenerateRequest, text: string): Shot[] => {
  const { requests, ...shared } = body
  if (requests === undefined) return [{ body: shared, own: shared, text, pointer: '' }]
  const { requests: list = '[]', ...sharedTexts } = Object.fromEntries(exactText.membersOf(text))
  return [...exactText.membersOf(list)].map(([index, member]) => ({
    body: { ...shared, ...requests[Number(index)] },
    own: requests[Number(index)] ?? {},
    text: objectText({ ...sharedTexts, ...Object.fromEntries(exactText.membersOf(member)) }),
    pointer: `/requests/${index}`
  }))
}

/** Does one shot's work; what it refuses says in which entry of the request it was. */
export const inShot = <T>({ pointer }: Shot, work: () => Promise<T>): Promise<T> =>
  withPlaces(work, place => pointer + place)

/** Does work whose refusals name places, and names them as the caller knows them. */
export const withPlaces = async <T>(work: () => Promise<T>, placeOf: (pointer: string) => string): Promise<T> => {
  try {
    return await work()
  } catch (error) {
    if (!(error instanceof Refusal) || !error.more.errors?.[0]) throw error
    const errors = error.more.errors.map(place => ({ ...place, pointer: placeOf(place.pointer) }))
    const { pointer } = error.more.errors[0]
    const named = placeOf(pointer)
    const detail = named === pointer ? error.detail : `${named}: ${error.detail.replace(`${pointer}: `, '')}`
    throw new Refusal(error.code, detail, { ...error.more, errors })
  }
}
