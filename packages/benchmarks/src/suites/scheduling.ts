import { keep } from '../results.ts'
import { compare, reportChart, reportText } from '../scheduling/report.ts'

/** `npm run bench -- scheduling [seeds]`: the policy against what users would have instead, in virtual time; no Redis, no processes. */
export const scheduling = async (seeds: number): Promise<void> => {
  const all = compare(seeds)
  keep({ name: 'scheduling', text: reportText(all, seeds), chart: reportChart(all) })
}
