import type { GenerateRequest, ShotRequest } from '@comfy-balancer/contract/generate'
import { Refusal } from '@comfy-balancer/service-kit/problems'
import type { TaskApiDeps } from './deps.ts'

/** One entry of a request: its parsed form, its text, and where in the request it stands (a JSON Pointer, empty for the whole). */
export type Shot = { readonly body: ShotRequest; readonly text: string; readonly pointer: string }

/** The shots that a request asks for. Beside a list of `requests` the other fields are what each of them starts from. */
export const shotsOf = ({ exactText }: Pick<TaskApiDeps, 'exactText'>, body: GenerateRequest, text: string): Shot[] => {
  const { requests, ...shared } = body
  if (requests === undefined) return [{ body: shared, text, pointer: '' }]
  const { requests: list = '[]', ...sharedTexts } = Object.fromEntries(exactText.membersOf(text))
  return [...exactText.membersOf(list)].map(([index, member]) => ({
    body: { ...shared, ...requests[Number(index)] },
    text: objectText({ ...sharedTexts, ...Object.fromEntries(exactText.membersOf(member)) }),
    pointer: `/requests/${index}`
  }))
}

/** The JSON text of an object whose members are JSON texts. */
export const objectText = (members: Readonly<Record<string, string>>): string =>
  `{${Object.entries(members)
    .map(([name, text]) => `${JSON.stringify(name)}:${text}`)
    .join(',')}}`

/** Does one shot's work; what it refuses says in which entry of the request it was. */
export const inShot = async <T>({ pointer }: Shot, work: () => Promise<T>): Promise<T> => {
  try {
    return await work()
  } catch (error) {
    if (pointer === '' || !(error instanceof Refusal)) throw error
    const errors = (error.more.errors ?? []).map(place => ({ ...place, pointer: pointer + place.pointer }))
    throw new Refusal(error.code, `${pointer.slice(1)}: ${error.detail}`, { ...error.more, errors })
  }
}
