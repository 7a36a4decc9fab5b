import { followersTable, measureFollowers } from '../followers.ts'
import { onFleet } from '../on-fleet.ts'

/** `npm run bench -- followers [rounds]`: what 2,000 idle event streams on one balancer cost a task. */
export const followers = async (rounds: number): Promise<void> => {
  const simulators = [{ speed: 1 }, { speed: 1 }]
  await onFleet({ simulators, timeScale: 0.01, env: { AUTH_MODE: 'none' } }, async fleet => {
    const table = followersTable(await measureFollowers(fleet, rounds))
    const title = `Sequential trivial tasks through one balancer, ${rounds} of each in turn, with and without 2,000 idle event streams on it, Node ${process.version}`
    return { name: 'followers', text: `${title}\n\n${table}` }
  })
}
