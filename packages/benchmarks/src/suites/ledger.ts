import { claimsPerRound, ledgerReport, measureLedger } from '../ledger.ts'
import { onRedis } from '../on-fleet.ts'

/** `npm run bench -- ledger [rounds]`: what a waiting task costs Redis, and whether claiming stays as quick when many wait. */
export const ledger = async (rounds: number): Promise<void> =>
  onRedis(async redis => {
    const report = ledgerReport(await measureLedger(redis.url, [1_000, 10_000, 100_000], rounds))
    const title = `Looks and claims at three lengths of the queue in turn, ${rounds} rounds of ${claimsPerRound}, Redis ${redis.version}, Node ${process.version}`
    return { name: 'ledger', text: `${title}\n\n${report}` }
  })
