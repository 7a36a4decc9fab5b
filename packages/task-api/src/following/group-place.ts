import { Refusal } from '@comfy-balancer/service-kit/problems'

/**
 * How far a reader of a group has come: the version of the last event that it has of each task, in the order of the group. As text the versions
 * stand behind each other, equal ones once with their number: `3x4.0x96`.
 */
export type GroupPlace = number[]

const run = /^(\d{1,9})(?:x(\d{1,4}))?$/

/** Reads the id of an event of a group with so many tasks; without one nothing was seen yet. Throws a Refusal. */
export const readGroupPlace = (text: string | undefined, tasks: number): GroupPlace => {
  if (text === undefined) return new Array<number>(tasks).fill(0)
  const place: GroupPlace = []
  for (const part of text.split('.')) {
    const [, version, count = '1'] = run.exec(part) ?? []
    if (version === undefined || place.length + Number(count) > tasks) throw notOurs()
    for (let i = 0; i < Number(count); i++) place.push(Number(version))
  }
  if (place.length !== tasks) throw notOurs()
  return place
}

/** The id that stands for a place. */
export const writeGroupPlace = (place: Readonly<GroupPlace>): string => {
  const parts: string[] = []
  for (let from = 0, to = 0; from < place.length; from = to) {
    while (place[to] === place[from] && to < place.length) to++
    parts.push(to - from > 1 ? `${place[from]}x${to - from}` : `${place[from]}`)
  }
  return parts.join('.')
}

const notOurs = (): Refusal => {
  const detail = 'last-event-id must be the id of an event of this group'
  return new Refusal('validation-failed', detail, {
    errors: [{ pointer: '/headers/last-event-id', code: 'last-event-id', detail }]
  })
}
