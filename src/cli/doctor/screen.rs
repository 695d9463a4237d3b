//! The findings for a person: a line for each area, and below it what needs attention.

use super::finding::{DoctorArea, DoctorFinding, FindingSeverity};
use crate::cli::run::counted;
use crate::cli::term::shown;

/// Prints them.
pub fn print(findings: &[DoctorFinding]) {
    for area in DoctorArea::ALL {
        let of_area: Vec<&DoctorFinding> = findings.iter().filter(|finding| finding.area == area).collect();
        print_area(area, &of_area);
    }
    let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count() as u64;
    let (faults, warnings) = (count(FindingSeverity::Fault), count(FindingSeverity::Warning));
    println!("\n{}, {}", counted(faults, "fault"), counted(warnings, "warning"));
    let mendable = findings.iter().filter(|finding| finding.fix.is_some() && !finding.fixed).count() as u64;
    if mendable > 0 {
        println!("  next: 'locum doctor --fix' mends {mendable} of them");
    }
}

fn print_area(area: DoctorArea, findings: &[&DoctorFinding]) {
    let Some(worst) = findings.iter().map(|finding| finding.severity).max() else { return };
    let mark = match worst {
        FindingSeverity::Ok => "✓",
        FindingSeverity::Warning => "!",
        FindingSeverity::Fault => "✗",
    };
    let is_fine = |finding: &&&DoctorFinding| finding.severity == FindingSeverity::Ok && !finding.fixed;
    let fine: Vec<String> = findings.iter().filter(is_fine).map(|finding| shown(&finding.what)).collect();
    println!("{}", format!("{mark} {:<12} {}", area.title(), fine.join("; ")).trim_end());
    for finding in findings {
        if !is_fine(&finding) {
            println!("    {}", shown(&finding.what));
        }
        if !finding.next.is_empty() {
            println!("      next: {}", finding.next);
        }
    }
}
