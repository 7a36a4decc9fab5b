import type { Outlook } from '@comfy-balancer/domain/eta'

const least = 1
const most = 120
/** Nothing runs, or what runs is past what was predicted. */
const unknown = 10

/** In how many seconds the first attempt at work is predicted to end, so that the queue gets shorter: 1 to 120. */
export const soonestEnd = async (outlook: () => Promise<Outlook>): Promise<number> => {
  const found = await outlook().catch(() => undefined)
  const left =
    found?.nodes.flatMap(({ endsMs }) => (endsMs === undefined ? [] : [(endsMs - found.nowMs) / 1_000])) ?? []
  const ahead = left.filter(seconds => seconds > 0)
  return ahead.length === 0 ? unknown : Math.min(most, Math.max(least, Math.ceil(Math.min(...ahead))))
}
