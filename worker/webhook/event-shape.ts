/**
 * GitHub signs a webhook's body but not the header that names its event, so that somebody who saw one
 * delivery could send its body as another event. The members of most bodies tell what event they are of.
 *
 * A refusal that is wrong loses a delivery. So a body is refused only when it is not of its event and is of
 * another, and a member is demanded only if each of these that knows the
 * event requires it, for every action: GitHub's OpenAPI description (npm `@octokit/openapi-webhooks`
 * 12.1.0: github.com, Enterprise Cloud, Enterprise Server 3.14 to 3.19), Octokit's schemas
 * (`@octokit/webhooks-schemas` 7.6.1), the examples (`@octokit/webhooks-examples` 7.6.1); but for `ping`,
 * of which the first requires nothing. A member is forbidden only if none of them has it there and it is
 * what tells another event.
 *
 * What stays alike: `dependabot_alert`, `secret_scanning_alert` and `repository_vulnerability_alert`; the
 * events about nothing but a repository or an account, as `watch` and `repository`, or `installation` and
 * `organization`; a `deployment` that a workflow made and a `workflow_run`; a `workflow_job` that deploys
 * and a `deployment`. GitHub may add an event at any time: one that is not in the table passes.
 */

/** An event, the members that its body has, and after `!` those that it has not; `!*` is every subject. */
const TABLE = `
  branch_protection_configuration action repository !*
  branch_protection_rule rule
  cache_sync cache_location
  check_run check_run !deployment_status
  check_suite check_suite
  code_scanning_alert alert commit_oid
  commit_comment comment !discussion !issue !pull_request
  create ref ref_type master_branch
  custom_property definition
  custom_property_values new_property_values repository
  delete ref ref_type !master_branch
  dependabot_alert alert !commit_oid !location
  deploy_key key
  deployment deployment !deployment_status
  deployment_review since workflow_run
  deployment_status deployment_status
  discussion discussion !comment
  discussion_comment comment discussion
  dismissal_request_code_scanning exemption_request
  dismissal_request_secret_scanning exemption_request
  enterprise action !*
  exemption_request_push_ruleset exemption_request
  exemption_request_secret_scanning exemption_request
  fork forkee
  github_app_authorization action !organization !repository !*
  gollum pages
  installation action installation !*
  installation_repositories repositories_added
  installation_target target_type
  issue_comment comment issue
  issue_dependencies blocked_issue
  issues issue !comment
  label label !discussion !issue !pull_request
  marketplace_purchase marketplace_purchase
  member member repository
  membership member team
  merge_group merge_group
  meta hook action
  milestone milestone !issue !pull_request
  org_block blocked_user
  organization action organization !*
  organization_custom_property definition
  organization_custom_property_values new_property_values organization
  package package
  page_build build
  personal_access_token_request personal_access_token_request
  ping zen
  project project
  project_card project_card
  project_column project_column
  projects_v2 projects_v2
  projects_v2_item projects_v2_item
  projects_v2_status_update projects_v2_status_update
  public repository !action !*
  pull_request pull_request number
  pull_request_review review pull_request
  pull_request_review_comment comment pull_request
  pull_request_review_thread thread pull_request
  push ref before after commits
  registry_package registry_package
  release release
  repository action !*
  repository_advisory repository_advisory
  repository_dispatch client_payload
  repository_import status repository
  repository_ruleset repository_ruleset
  repository_vulnerability_alert alert !commit_oid !location
  secret_scanning_alert alert !commit_oid !location
  secret_scanning_alert_location location alert
  secret_scanning_scan completed_at
  security_advisory security_advisory
  security_and_analysis changes repository !action !*
  sponsorship sponsorship
  star starred_at
  status context sha
  sub_issues sub_issue
  team team action organization !member
  team_add team repository !action
  user action !*
  watch action repository !*
  workflow_dispatch inputs workflow
  workflow_job workflow_job
  workflow_run workflow_run workflow
`;

const SHAPES: ReadonlyMap<string, readonly string[]> = new Map(
  TABLE.trim()
    .split("\n")
    .map((line) => {
      const [event = "", ...members] = line.trim().split(" ");
      return [event, members];
    }),
);

/** What events are about: the first member of each line, but of those that forbid all others' subjects. */
const SUBJECTS = [...SHAPES.values()]
  .filter((members) => !members.includes("!*"))
  .map(([subject = ""]) => subject);

/**
 * Why a body whose members are named `keys` is not one of `event`, a name in lower case: it lacks what
 * that has, and is one of another. `undefined` when it may be. Both names in the text are safe to log.
 */
export function shapeFault(event: string, keys: ReadonlySet<string>): string | undefined {
  const shape = SHAPES.get(event);
  if (!shape || fits(shape, keys)) return undefined;
  // Without a subject, `sender` tells that a body is GitHub's at all.
  const other = [...SHAPES].find(
    ([, members]) => fits(members, keys) && (!members.includes("!*") || keys.has("sender")),
  );
  return other && `the body is one of ${other[0]}, not of ${event}`;
}

function fits(shape: readonly string[], keys: ReadonlySet<string>): boolean {
  return shape.every((member) => {
    if (member === "!*") return !SUBJECTS.some((subject) => keys.has(subject));
    return member.startsWith("!") ? !keys.has(member.slice(1)) : keys.has(member);
  });
}
